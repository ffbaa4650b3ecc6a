import assert, { AssertionError } from 'node:assert/strict';
import { GatewayError } from '../errors.js';
import type { RuntimeTransport } from '../runtime.js';
import {
  isNotification,
  isRequest,
  isResponse,
  type JSONRPCErrorResponse,
  type JSONRPCMessage,
  type JSONRPCResultResponse,
} from '../sdk.js';
import { Waiters, within } from './guard.js';

/** Its answer is not written down: no case is about it. */
const helloId = 'hello';

type Response = JSONRPCResultResponse | JSONRPCErrorResponse;

/** The client's side of a transport under test: writes down what happens, and waits for it. */
export class Peer {
  readonly transport: RuntimeTransport;
  readonly messages: JSONRPCMessage[] = [];
  readonly errors: Error[] = [];
  /** Names of the callbacks in the order in which they came. */
  readonly log: ('message' | 'error' | 'reason' | 'close')[] = [];
  readonly #guardMs: number;
  readonly #waiters: Waiters;
  readonly #answers = new Map<unknown, Response>();
  #closes = 0;
  #greeted = false;
  #nextId = 1;

  constructor(transport: RuntimeTransport, guardMs: number) {
    this.transport = transport;
    this.#guardMs = guardMs;
    this.#waiters = new Waiters(guardMs);
    transport.onmessage = (message) => {
      if (isResponse(message) && message.id === helloId) {
        this.#greeted = 'result' in message;
        this.#waiters.wake();
        return;
      }
      this.messages.push(message);
      if (isResponse(message)) this.#answers.set(message.id, message);
      this.#note('message');
    };
    transport.onerror = (error) => {
      this.errors.push(error);
      this.#note(GatewayError.is(error) && error.exit !== undefined ? 'reason' : 'error');
    };
    transport.onclose = () => this.#note('close');
  }

  /** How often `onclose` has fired. */
  get closes(): number {
    return this.#closes;
  }

  /** Why the server ended, when it did by itself and `onerror` was told. */
  get reason(): GatewayError | undefined {
    return this.errors.filter(GatewayError.is).find((error) => error.exit !== undefined);
  }

  /** Numbers of the reference server's notifications, in the order in which they came. */
  get numbers(): unknown[] {
    return this.messages.filter(isNotification).map((message) => message.params?.number);
  }

  async start(): Promise<void> {
    await within(this.transport.start(), this.#guardMs, 'start()');
  }

  /** Starts, and says hello as every client does: over some transports there is no session before that. */
  async begin(): Promise<void> {
    await this.start();
    const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'contract', version: '1' } };
    const outcome = await this.send({ jsonrpc: '2.0', id: helloId, method: 'initialize', params });
    if (outcome.status === 'rejected') throw outcome.reason;
    await this.until('the answer to initialize', () => {
      if (!this.#greeted && this.closes > 0) {
        throw new AssertionError({ message: 'the transport closed before the answer to initialize' });
      }
      return this.#greeted;
    });
    const greeted = await this.send({ jsonrpc: '2.0', method: 'notifications/initialized' });
    if (greeted.status === 'rejected') throw greeted.reason;
  }

  async close(): Promise<void> {
    await within(this.transport.close(), this.#guardMs, 'close()');
  }

  /** Sends, and settles with what became of it, which must be soon. */
  async send(message: JSONRPCMessage): Promise<PromiseSettledResult<void>> {
    // A send() that throws at once counts as one that rejects.
    const sent = Promise.allSettled([(async () => this.transport.send(message))()]);
    const [outcome] = await within(sent, this.#guardMs, 'send()');
    assert(outcome);
    return outcome;
  }

  notify(number: number): Promise<PromiseSettledResult<void>> {
    return this.send({ jsonrpc: '2.0', method: 'notifications/reference', params: { number } });
  }

  /** Sends a request and waits for the answer. */
  async request(method: string, params: Record<string, unknown> = {}, id = this.#nextId++): Promise<Response> {
    const outcome = await this.send({ jsonrpc: '2.0', id, method, params });
    if (outcome.status === 'rejected') throw outcome.reason;
    return this.until(`the answer to ${method}`, () => {
      const answer = this.#answers.get(id);
      if (answer === undefined && this.closes > 0) {
        throw new AssertionError({ message: `the transport closed before the answer to ${method}` });
      }
      return answer;
    });
  }

  /** Calls a tool of the reference server and returns the text of its answer. */
  async call(name: string, args: Record<string, unknown> = {}): Promise<string> {
    const answer = await this.request('tools/call', { name, arguments: args });
    assert('result' in answer, `${name} answered with an error: ${JSON.stringify(answer)}`);
    const [content] = answer.result.content as { text: string }[];
    assert(content);
    return content.text;
  }

  /** Sends a tool call and does not wait for an answer. */
  tell(name: string, args: Record<string, unknown> = {}): Promise<PromiseSettledResult<void>> {
    return this.send({
      jsonrpc: '2.0',
      id: this.#nextId++,
      method: 'tools/call',
      params: { name, arguments: args },
    });
  }

  /** Answers the requests of the server with `result`. */
  answerRequests(result: Record<string, unknown>): void {
    const { onmessage } = this.transport;
    this.transport.onmessage = (message, extra) => {
      onmessage?.(message, extra);
      if (isRequest(message)) void this.send({ jsonrpc: '2.0', id: message.id, result });
    };
  }

  until<T>(what: string, condition: () => T | undefined | false): Promise<T> {
    return this.#waiters.until(what, condition);
  }

  closed(): Promise<true> {
    return this.until('onclose', () => this.closes > 0 && true);
  }

  /** Settles when `onerror` was called with why the server ended. */
  async ended(): Promise<GatewayError> {
    await this.closed();
    assert(this.reason, 'onerror receives a GatewayError with `exit` before onclose');
    return this.reason;
  }

  #note(entry: Peer['log'][number]): void {
    this.log.push(entry);
    if (entry === 'close') this.#closes++;
    this.#waiters.wake();
  }
}
