import { GatewayError } from '../../src/errors.js';
import type { RuntimeContext } from '../../src/runtime.js';
import {
  isRequest,
  type JSONRPCMessage,
  type JSONRPCNotification,
  type JSONRPCRequest,
  type RequestId,
  type Transport,
} from '../../src/sdk.js';

export type Json = Record<string, unknown>;

/** Answers a request: a result, or `hold` for "not yet" (see {@link ScriptedInstance.answer}), or a thrown `RpcError`. */
export type Handler = (request: JSONRPCRequest, instance: ScriptedInstance) => Json | typeof hold | Promise<Json>;

export const hold = Symbol('hold');

/** What a handler throws to be answered with exactly this error. */
export class RpcError extends Error {
  readonly error: { code: number; message: string; data?: unknown };
  constructor(code: number, message: string, data?: unknown) {
    super(message);
    this.error = { code, message, ...(data !== undefined && { data }) };
  }
}

export interface Script {
  capabilities?: Json;
  instructions?: string;
  tools?: readonly Json[];
  prompts?: readonly Json[];
  resources?: readonly Json[];
  resourceTemplates?: readonly Json[];
  /** More methods, or other answers to those that are there. */
  on?: Record<string, Handler>;
  /** Waited for, or thrown, before an instance opens. */
  open?: (context: RuntimeContext, opens: number) => Promise<void> | void;
}

/** A server whose every step the test decides: hand `runtime` to a catalog entry. */
export class ScriptedServer {
  /** Every instance that was opened, the closed ones too. */
  readonly instances: ScriptedInstance[] = [];
  readonly script: Script;
  opens = 0;
  #arrived: (() => void)[] = [];

  constructor(script: Script = {}) {
    this.script = script;
  }

  readonly runtime = {
    type: 'in-process' as const,
    server: async (context: RuntimeContext): Promise<Transport> => {
      this.opens += 1;
      await this.script.open?.(context, this.opens);
      const instance = new ScriptedInstance(this, context);
      this.instances.push(instance);
      return instance;
    },
  };

  get live(): ScriptedInstance[] {
    return this.instances.filter((instance) => !instance.closed);
  }

  /** The only open instance. */
  get only(): ScriptedInstance {
    const [instance, ...more] = this.live;
    if (instance === undefined || more.length > 0) {
      throw new Error(`${this.live.length} instances are open, not one`);
    }
    return instance;
  }

  /** The nth request of a method, counted from 0 over all instances; waits for it to come. */
  async request(method: string, index = 0): Promise<{ instance: ScriptedInstance; request: JSONRPCRequest }> {
    for (;;) {
      const all = this.instances.flatMap((instance) =>
        instance.requests(method).map((request) => ({ instance, request })),
      );
      const found = all[index];
      if (found !== undefined) {
        return found;
      }
      await this.change();
    }
  }

  /** Resolves when the next message has come to any instance, or one has closed. */
  change(): Promise<void> {
    return new Promise((resolve) => this.#arrived.push(resolve));
  }

  changed(): void {
    for (const resolve of this.#arrived.splice(0)) {
      resolve();
    }
  }

  list(kind: 'tools' | 'prompts' | 'resources' | 'resourceTemplates'): Json {
    return { [kind]: this.script[kind] ?? [] };
  }

  get capabilities(): Json {
    const { script } = this;
    return (
      script.capabilities ?? {
        ...(script.tools && { tools: { listChanged: true } }),
        ...(script.prompts && { prompts: { listChanged: true } }),
        ...((script.resources ?? script.resourceTemplates) && { resources: { listChanged: true, subscribe: true } }),
        logging: {},
        completions: {},
      }
    );
  }
}

const standard: Record<string, Handler> = {
  initialize: (request, { server }) => ({
    protocolVersion: request.params?.protocolVersion,
    capabilities: server.capabilities,
    serverInfo: { name: 'scripted', version: '1' },
    ...(server.script.instructions !== undefined && { instructions: server.script.instructions }),
  }),
  ping: () => ({}),
  'tools/list': (_, { server }) => server.list('tools'),
  'prompts/list': (_, { server }) => server.list('prompts'),
  'resources/list': (_, { server }) => server.list('resources'),
  'resources/templates/list': (_, { server }) => server.list('resourceTemplates'),
  'resources/subscribe': () => ({}),
  'resources/unsubscribe': () => ({}),
  'logging/setLevel': () => ({}),
  'tools/call': (request, { context }) => ({
    content: [],
    structuredContent: { server: context.server, params: request.params },
  }),
};

/** One running server: the client's end of a connection to it. */
export class ScriptedInstance implements Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: NonNullable<Transport['onmessage']>;
  closed = false;
  readonly server: ScriptedServer;
  readonly context: RuntimeContext;
  /** What the gateway has sent. */
  readonly received: JSONRPCMessage[] = [];

  constructor(server: ScriptedServer, context: RuntimeContext) {
    this.server = server;
    this.context = context;
  }

  requests(method: string): JSONRPCRequest[] {
    return this.received.filter(
      (message): message is JSONRPCRequest => isRequest(message) && message.method === method,
    );
  }

  notifications(method: string): JSONRPCNotification[] {
    return this.received.filter(
      (message): message is JSONRPCNotification =>
        'method' in message && !('id' in message) && message.method === method,
    );
  }

  /** The answers to what this server asked under `id`. */
  answers(id: RequestId): Json[] {
    return this.received.filter((message) => !('method' in message) && message.id === id) as unknown as Json[];
  }

  async start(): Promise<void> {}

  async send(message: JSONRPCMessage): Promise<void> {
    if (this.closed) {
      throw new Error('the scripted server has ended');
    }
    this.received.push(message);
    this.server.changed();
    if (isRequest(message)) {
      const handler = this.server.script.on?.[message.method] ?? standard[message.method];
      void this.#handle(message, handler ?? (() => Promise.reject(new RpcError(-32601, 'no such method'))));
    }
  }

  /** Sends anything to the gateway. */
  say(message: Json): void {
    this.onmessage?.({ jsonrpc: '2.0', ...message } as JSONRPCMessage);
  }

  answer(request: { readonly id: RequestId }, result: Json): void {
    this.say({ id: request.id, result });
  }

  notify(method: string, params?: Json): void {
    this.say({ method, ...(params && { params }) });
  }

  /** Asks the caller for something; resolves with the answer as it came. */
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

  /** Ends as a crashed process does. */
  die(code = 1): void {
    if (!this.closed) {
      this.closed = true;
      const exit = { code, stderrTail: '' };
      this.onerror?.(
        new GatewayError('SERVER_EXITED', `the server exited with code ${code}`, { server: this.context.server, exit }),
      );
      this.onclose?.();
      this.server.changed();
    }
  }

  async close(): Promise<void> {
    if (!this.closed) {
      this.closed = true;
      this.onclose?.();
      this.server.changed();
    }
  }

  async #handle(request: JSONRPCRequest, handler: Handler): Promise<void> {
    try {
      const result = await handler(request, this);
      if (result !== hold) {
        this.answer(request, result);
      }
    } catch (thrown) {
      if (!(thrown instanceof RpcError)) {
        throw thrown;
      }
      this.say({ id: request.id, error: thrown.error });
    }
  }
}
