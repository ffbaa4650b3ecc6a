// Loaded in real time when it is first needed, for which a clock that stands still does not wait.
import '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js';
import type { Caller, FetchOptions, Gateway } from '../../../src/index.js';
import type { Json } from '../../endpoint/scripted-server.js';
import type { Era } from './entries.js';

export interface FetchLineOptions extends Omit<FetchOptions, 'caller'> {
  readonly gateway: Gateway;
  readonly era: Era;
  /** Who sends a message, as the host finds out anew each time. */
  callerOf(message: Json): Caller;
  onMessage(message: Json): void;
  /** A request whose response has ended without an answer. */
  onUnanswered(id: unknown, why: string): void;
}

/** What a client over HTTP does, without HTTP: each message is a `Request`, and what it is answered with is read to the end. */
export class FetchLine {
  readonly #options: FetchLineOptions;
  readonly #aborts = new Map<unknown, AbortController>();
  readonly #stream = new AbortController();
  #session: Promise<string | undefined> = Promise.resolve(undefined);
  #isClosed = false;

  constructor(options: FetchLineOptions) {
    this.#options = options;
  }

  async send(message: Json): Promise<void> {
    const { era } = this.#options;
    const { id, method, params } = message as { id?: unknown; method?: string; params?: Json };
    if (era === 'modern' && method === 'notifications/cancelled') {
      // There the end of the response says so.
      this.#aborts.get(params?.requestId)?.abort();
      return;
    }
    const isRequest = method !== undefined && id !== undefined;
    const sending = this.#exchange(message, isRequest ? id : undefined);
    if (method === 'initialize') {
      // A reload may have taken away a server that the host wants for it: then there is no session.
      this.#session = sending.then(
        (response) => response?.headers.get('mcp-session-id') ?? undefined,
        () => undefined,
      );
    }
    await sending;
  }

  /** Opens the stream on which a server asks what belongs to no request. */
  async listen(): Promise<void> {
    const headers = { ...(await this.#headers()), accept: 'text/event-stream' };
    const request = new Request(url, { method: 'GET', headers, signal: this.#stream.signal });
    const response = await this.#fetch(request, {});
    if (response.ok) {
      await this.#read(response, undefined);
    }
  }

  /** @param politely - ends the session, where there is one */
  async close(politely: boolean): Promise<void> {
    this.#isClosed = true;
    const session = await this.#session;
    for (const abort of [this.#stream, ...this.#aborts.values()]) {
      abort.abort();
    }
    if (politely && session !== undefined) {
      await this.#fetch(new Request(url, { method: 'DELETE', headers: await this.#headers() }), {});
    }
  }

  async #exchange(message: Json, id: unknown): Promise<Response | undefined> {
    const { onUnanswered, era } = this.#options;
    const headers = era === 'legacy' ? await this.#headers() : modernHeaders(message);
    const abort = new AbortController();
    id !== undefined && this.#aborts.set(id, abort);
    const body = JSON.stringify(message);
    const request = new Request(url, { method: 'POST', headers, body, signal: abort.signal });
    const response = await this.#fetch(request, message);
    void this.#read(response, id).then((answers) => {
      if (id !== undefined && answers !== 1 && !abort.signal.aborted && !this.#isClosed) {
        onUnanswered(id, `status ${response.status}, ${answers} answers`);
      }
    });
    return response;
  }

  #fetch(request: Request, message: Json): Promise<Response> {
    const { gateway, callerOf, servers, tags } = this.#options;
    return gateway.fetch(request, { caller: callerOf(message), servers, tags });
  }

  async #headers(): Promise<Record<string, string>> {
    const session = await this.#session;
    return { ...jsonHeaders, ...(session !== undefined && { 'mcp-session-id': session }) };
  }

  /** @returns how many answers to the request came */
  async #read(response: Response, id: unknown): Promise<number> {
    let answers = 0;
    const take = (text: string) => {
      const message = JSON.parse(text) as Json;
      if (!('method' in message) && message.id === id) {
        answers += 1;
      }
      this.#isClosed || this.#options.onMessage(message);
    };
    if (!response.ok && id !== undefined) {
      // A refusal has no id: the status says that it is this request that is refused.
      const text = await response.text();
      const body =
        text === '' ? { jsonrpc: '2.0', error: { code: response.status, message: 'refused' } } : JSON.parse(text);
      take(JSON.stringify({ ...body, id }));
      return answers;
    }
    if (response.headers.get('content-type')?.startsWith('application/json')) {
      const text = await response.text();
      text !== '' && take(text);
      return answers;
    }
    let rest = '';
    const decoder = new TextDecoder();
    try {
      for await (const chunk of response.body ?? []) {
        rest += decoder.decode(chunk as Uint8Array, { stream: true });
        const events = rest.split('\n\n');
        rest = events.pop() as string;
        for (const event of events) {
          const data = event.split('\n').find((line) => line.startsWith('data: '));
          data !== undefined && data.trim() !== 'data:' && take(data.slice('data: '.length));
        }
      }
    } catch {
      // The client has left, or the gateway broke it off: how many answers there were says which is right.
    }
    return answers;
  }
}

const url = 'http://localhost/mcp';
const jsonHeaders = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };

function modernHeaders({ method, params }: Json): Record<string, string> {
  const { name, uri, taskId } = (params ?? {}) as Json;
  const ofTasks = { 'tasks/get': taskId, 'tasks/update': taskId, 'tasks/cancel': taskId };
  const named = { 'tools/call': name, 'prompts/get': name, 'resources/read': uri, ...ofTasks }[method as string];
  return {
    ...jsonHeaders,
    'mcp-protocol-version': '2026-07-28',
    ...(typeof method === 'string' && { 'mcp-method': method }),
    ...(typeof named === 'string' && { 'mcp-name': named }),
  };
}
