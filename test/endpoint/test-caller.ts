import { isRequest, type JSONRPCMessage, type RequestId, type Transport } from '../../src/sdk.js';
import { Watched } from '../support/watched.js';
import type { Json } from './scripted-server.js';

/** A caller of the merged peer that speaks JSON-RPC itself, so that nothing an SDK would tidy up goes unseen. */
export class TestCaller extends Watched implements AsyncDisposable {
  readonly transport: Transport;
  /** Everything that came, in order. */
  readonly received: JSONRPCMessage[] = [];
  closed = 0;
  /** What this caller answers to a server; without it requests wait. */
  onRequest: ((method: string, params: Json | undefined) => Json | undefined) | undefined;
  #nextId = 1000;

  constructor(transport: Transport) {
    super();
    this.transport = transport;
    transport.onmessage = (message) => this.#receive(message);
    transport.onclose = () => {
      this.closed += 1;
      this.changed();
    };
  }

  /** Connects, and makes the handshake. */
  static async open(transport: Transport, capabilities: Json = {}, more: Json = {}): Promise<TestCaller> {
    const caller = new TestCaller(transport);
    await transport.start();
    await caller.initialize(capabilities, more);
    return caller;
  }

  async initialize(capabilities: Json = {}, more: Json = {}): Promise<Json> {
    const params = { protocolVersion: '2025-11-25', capabilities, clientInfo: { name: 'test', version: '1' }, ...more };
    const result = await this.result('initialize', params);
    await this.send({ method: 'notifications/initialized' });
    return result;
  }

  send(message: Json): Promise<void> {
    return this.transport.send({ jsonrpc: '2.0', ...message } as JSONRPCMessage);
  }

  /** The whole answer, as it came. */
  async request(method: string, params?: Json, id: RequestId = this.#nextId++): Promise<Json> {
    const before = this.answers(id).length;
    await this.send({ id, method, ...(params && { params }) });
    return this.until(() => this.answers(id)[before]);
  }

  /** The result; throws for an error. */
  async result(method: string, params?: Json): Promise<Json> {
    const answer = await this.request(method, params);
    if (!('result' in answer)) {
      throw new Error(`${method} was answered with ${JSON.stringify(answer.error)}`);
    }
    return answer.result as Json;
  }

  /** The error; throws for a result. */
  async error(method: string, params?: Json): Promise<{ code: number; message: string; data?: Json }> {
    const answer = await this.request(method, params);
    if (!('error' in answer)) {
      throw new Error(`${method} was answered with a result: ${JSON.stringify(answer.result)}`);
    }
    return answer.error as { code: number; message: string; data?: Json };
  }

  /** All of a list, page by page. */
  async list(kind: 'tools' | 'prompts' | 'resources' | 'resourceTemplates'): Promise<Json[]> {
    const method = kind === 'resourceTemplates' ? 'resources/templates/list' : `${kind}/list`;
    const items: Json[] = [];
    let cursor: unknown;
    do {
      const page = await this.result(method, cursor === undefined ? undefined : { cursor });
      items.push(...(page[kind] as Json[]));
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    return items;
  }

  async toolNames(): Promise<string[]> {
    return (await this.list('tools')).map(({ name }) => String(name));
  }

  answers(id: RequestId): Json[] {
    return this.received.filter((message) => !('method' in message) && message.id === id) as unknown as Json[];
  }

  /** The params of all notifications of a method. */
  notifications(method: string): Json[] {
    return this.received.flatMap((message) =>
      'method' in message && !('id' in message) && message.method === method
        ? [(message.params ?? {}) as unknown as Json]
        : [],
    );
  }

  /** Requests of servers. */
  requests(method: string): Json[] {
    return this.received.filter((message) => isRequest(message) && message.method === method) as unknown as Json[];
  }

  /** The params of the nth notification of a method. */
  notification(method: string, index = 0): Promise<Json> {
    return this.until(() => this.notifications(method)[index]);
  }

  async close(): Promise<void> {
    await this.transport.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #receive(message: JSONRPCMessage): void {
    this.received.push(message);
    if (isRequest(message)) {
      const result = this.onRequest?.(message.method, message.params as Json | undefined);
      if (result !== undefined) {
        void this.send({ id: message.id, result });
      }
    }
    this.changed();
  }
}
