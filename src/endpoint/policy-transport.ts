import type { Response } from '../instance/exchanges.js';
import { ServerError } from '../instance/server-error.js';
import type { Caller } from '../runtime.js';
import {
  isRequest,
  isResponse,
  type JSONRPCMessage,
  type JSONRPCRequest,
  type MessageExtraInfo,
  type RequestId,
  type Transport,
  type TransportSendOptions,
} from '../sdk.js';
import { runCallback } from '../transport/callback.js';
import { isToolAllowed, type ToolFilter } from './glob.js';
import { cancelledResponse, type Interceptor, toResponse } from './intercept.js';

type Params = NonNullable<JSONRPCRequest['params']>;
type Fields = Readonly<Record<string, unknown>>;

export interface PolicyOptions {
  readonly server: string;
  readonly caller: Caller;
  readonly tools: ToolFilter;
  readonly intercept: Interceptor | undefined;
}

/** Whether a raw connection needs a {@link PolicyTransport} at all. */
export function hasPolicy({ tools, intercept }: Pick<PolicyOptions, 'tools' | 'intercept'>): boolean {
  return intercept !== undefined || tools.allow !== undefined || tools.deny.length > 0;
}

/** A raw connection to one server, on which the entry's tool filter and the host's interceptor hold too. */
export class PolicyTransport implements Transport {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: (<T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void) | undefined;

  readonly #inner: Transport;
  readonly #options: PolicyOptions;
  readonly #waiting = new Map<RequestId, (response: Response, extra: MessageExtraInfo | undefined) => void>();

  readonly #cancelled = new Set<RequestId>();

  constructor(inner: Transport, options: PolicyOptions) {
    this.#inner = inner;
    this.#options = options;
    inner.onclose = () => this.onclose?.();
    inner.onerror = (error) => this.onerror?.(error);
    inner.onmessage = (message, extra) => this.#receive(message, extra);
    for (const name of ['pid', 'stderr'] as const) {
      // SDK v2 knows stdio by the presence of these two.
      if (name in inner) {
        Object.defineProperty(this, name, { enumerable: true, get: () => (inner as unknown as Fields)[name] });
      }
    }
  }

  get sessionId(): string | undefined {
    return this.#inner.sessionId;
  }

  setProtocolVersion(version: string): void {
    this.#inner.setProtocolVersion?.(version);
  }

  start(): Promise<void> {
    return this.#inner.start();
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async send(message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    if (!isRequest(message) || message.method === 'initialize' || message.method === 'ping') {
      if ('method' in message && message.method === 'notifications/cancelled') {
        this.#cancel(message.params?.requestId as RequestId);
      }
      return this.#inner.send(message, options);
    }
    const { method, params, id } = message;
    if (method === 'tools/call' && !isToolAllowed(this.#options.tools, String(params?.name))) {
      const error = { code: -32602, message: `unknown tool: ${String(params?.name)}` };
      this.#deliver({ jsonrpc: '2.0', id, error }, undefined);
      return;
    }
    if (this.#options.intercept === undefined) {
      if (method === 'tools/list') {
        this.#waiting.set(id, (response, extra) => {
          if (!this.#cancelled.delete(id)) {
            this.#deliver(this.#filter(response), extra);
          }
        });
      }
      return this.#inner.send(message, options);
    }
    return this.#intercept(this.#options.intercept, message, options);
  }

  /** Resolves when the message is accepted, by the server or by the interceptor; the answer comes when it comes. */
  #intercept(
    intercept: Interceptor,
    request: JSONRPCRequest,
    options: TransportSendOptions | undefined,
  ): Promise<void> {
    const { caller, server } = this.#options;
    const { id, method } = request;
    const accepted = Promise.withResolvers<void>();
    let refused = false;
    const next = (params: Fields | undefined = request.params) =>
      new Promise<Fields>((resolve, reject) => {
        this.#waiting.set(id, (response) =>
          'result' in response ? resolve(response.result) : reject(new ServerError(server, method, response.error)),
        );
        const message = { ...request, ...(params && { params: params as Params }) };
        this.#inner.send(message, options).then(accepted.resolve, (error: unknown) => {
          refused = true;
          accepted.reject(error);
          reject(error);
        });
      });
    const answer = (response: Response) => {
      this.#waiting.delete(id);
      accepted.resolve();
      // Refused by send(): then there is no answer. Cancelled: then nobody waits for one.
      if (!refused && !this.#cancelled.delete(id)) {
        this.#deliver(method === 'tools/list' ? this.#filter(response) : response, undefined);
      }
    };
    Promise.resolve()
      .then(() => intercept({ caller, authInfo: caller.authInfo, server, method, params: request.params ?? {} }, next))
      .then(
        (result) => answer({ jsonrpc: '2.0', id, result: result as Record<string, unknown> }),
        (error: unknown) => answer(toResponse(id, server, error)),
      );
    return accepted.promise;
  }

  /** What waits for the server's answer in an interceptor learns that none will come. */
  #cancel(id: RequestId): void {
    const waiting = this.#waiting.get(id);
    if (waiting !== undefined) {
      this.#waiting.delete(id);
      this.#cancelled.add(id);
      waiting(cancelledResponse(id, this.#options.server), undefined);
    }
  }

  #receive(message: JSONRPCMessage, extra: MessageExtraInfo | undefined): void {
    const waiting = isResponse(message) && message.id !== undefined ? this.#waiting.get(message.id) : undefined;
    if (waiting === undefined) {
      this.onmessage?.(message, extra);
    } else {
      this.#waiting.delete((message as Response).id as RequestId);
      waiting(message as Response, extra);
    }
  }

  #filter(response: Response): Response {
    if (!('result' in response) || !Array.isArray(response.result.tools)) {
      return response;
    }
    const tools = response.result.tools.filter((tool: Fields) =>
      isToolAllowed(this.#options.tools, String(tool?.name)),
    );
    return { ...response, result: { ...response.result, tools } };
  }

  #deliver(message: JSONRPCMessage, extra: MessageExtraInfo | undefined): void {
    runCallback(this, () => this.onmessage?.(message, extra));
  }
}
