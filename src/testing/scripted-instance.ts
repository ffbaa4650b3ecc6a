import { GatewayError } from '../errors.js';
import type { RuntimeContext } from '../runtime.js';
import {
  isNotification,
  isRequest,
  isResponse,
  type JSONRPCMessage,
  type JSONRPCNotification,
  type JSONRPCRequest,
  type RequestId,
  type Transport,
} from '../sdk.js';
import { Timers } from '../util/timers.js';
import { answerAsScripted } from './scripted-answers.js';
import { hold, type Json, ScriptedError, type ScriptedServer } from './scripted-server.js';

/** One running instance of a scripted server: the client's end of a connection to it. */
export class ScriptedInstance implements Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: NonNullable<Transport['onmessage']>;
  /** Whether it has ended. */
  closed = false;
  /** The server that it is an instance of. */
  readonly server: ScriptedServer;
  /** What the runtime was told: caller, environment, clock. */
  readonly context: RuntimeContext;
  /** What the gateway has sent, in order. */
  readonly received: JSONRPCMessage[] = [];
  readonly #delays: Timers;

  constructor(server: ScriptedServer, context: RuntimeContext) {
    this.server = server;
    this.context = context;
    this.#delays = new Timers(context.clock);
  }

  /** The requests of a method that came. */
  requests(method: string): JSONRPCRequest[] {
    return this.received.filter(
      (message): message is JSONRPCRequest => isRequest(message) && message.method === method,
    );
  }

  /** The notifications of a method that came. */
  notifications(method: string): JSONRPCNotification[] {
    return this.received.filter(
      (message): message is JSONRPCNotification => isNotification(message) && message.method === method,
    );
  }

  /** The answers that came to what this server asked under `id`. */
  answers(id: RequestId): Json[] {
    return this.received.filter((message) => isResponse(message) && message.id === id) as unknown as Json[];
  }

  async start(): Promise<void> {}

  async send(message: JSONRPCMessage): Promise<void> {
    if (this.closed) {
      throw new Error('the scripted server has ended');
    }
    if (typeof message !== 'object' || message === null) {
      // What sick lines make of a message need not be one.
      return;
    }
    this.received.push(message);
    this.server.changed();
    if (isRequest(message)) {
      void this.#handle(message);
    }
  }

  /** Sends anything to the gateway, in any state: also what no server should say. */
  say(message: Json): void {
    this.onmessage?.({ jsonrpc: '2.0', ...message } as JSONRPCMessage);
  }

  /** Answers a request that a handler held. */
  answer(request: { readonly id: RequestId }, result: Json): void {
    this.say({ id: request.id, result });
  }

  /** Sends a notification. */
  notify(method: string, params?: Json): void {
    this.say({ method, ...(params && { params }) });
  }

  /** Asks the caller for something, such as `elicitation/create`; resolves with the answer as it came. */
  async ask(id: RequestId, method: string, params?: Json): Promise<Json> {
    const before = this.answers(id).length;
    this.say({ id, method, ...(params && { params }) });
    for (;;) {
      const answer = this.answers(id)[before];
      if (answer !== undefined) {
        return answer;
      }
      await this.server.change();
    }
  }

  /** Resolves after `ms` milliseconds of the gateway's clock; never once the instance has ended. */
  delay(ms: number): Promise<void> {
    return new Promise((resolve) => this.closed || this.#delays.start(resolve, ms));
  }

  /** Ends as a crashed process does. */
  die(code = 1): void {
    if (!this.closed) {
      const exit = { code, stderrTail: '' };
      this.#end(
        new GatewayError('SERVER_EXITED', `the server exited with code ${code}`, { server: this.context.server, exit }),
      );
    }
  }

  async close(): Promise<void> {
    if (!this.closed) {
      this.#end();
    }
  }

  #end(reason?: GatewayError): void {
    this.closed = true;
    this.#delays.endAll();
    if (reason !== undefined) {
      this.onerror?.(reason);
    }
    this.onclose?.();
    this.server.changed();
  }

  async #handle(request: JSONRPCRequest): Promise<void> {
    try {
      const result = await answerAsScripted(request, this);
      if (result !== hold) {
        this.answer(request, result);
      }
    } catch (thrown) {
      if (thrown instanceof ScriptedError) {
        this.say({ id: request.id, error: thrown.error });
      } else {
        this.server.problems.push(thrown);
        this.say({ id: request.id, error: { code: -32603, message: `the script failed: ${String(thrown)}` } });
      }
    }
  }
}
