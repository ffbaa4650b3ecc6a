import { GatewayError } from '../errors.js';
import type { Response, RpcError } from '../instance/exchanges.js';
import type { LinkTransport } from '../instance/link-transport.js';
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
import { deliver, runCallback } from '../transport/callback.js';
import { handedOver } from '../transport/handed-over.js';
import { findNamed } from '../transport/json-rpc.js';
import { hasEnvelope, metaKeys } from '../transport/modern.js';
import { anyContext, currentContext, type RunInContext } from '../util/async-context.js';
import type { Fields } from '../util/fields.js';
import { setImmediate } from '../util/immediate.js';
import { textOf } from '../util/text-of.js';
import { isToolAllowed, type ToolFilter } from './glob.js';
import {
  callerCancelled,
  callerLeft,
  cancelledResponse,
  type Interceptor,
  runInterceptor,
  toResponse,
} from './intercept.js';
import { unknownTool } from './late-refusal.js';
import { toComplete, toPrivate } from './modern/results.js';

type Params = NonNullable<JSONRPCRequest['params']>;

/** A request that an interceptor stands around. */
interface InterceptedCall {
  /** As its caller has sent it. */
  readonly request: JSONRPCRequest;
  /** The caller has cancelled it. */
  cancel(): void;
  /** The caller has closed its connection. */
  leave(): void;
  /** Answers it when its connection ends before its interceptor. */
  end(reason: GatewayError | undefined): void;
}

export interface PolicyOptions {
  readonly server: string;
  readonly caller: Caller;
  /** As the catalog says now. */
  tools(): ToolFilter;
  readonly intercept: Interceptor | undefined;
}

/**
 * A raw connection to one server, on which the entry's tool filter and the host's interceptor hold too. Callbacks run in the
 * async context of `start()`, whoever's turn the server has answered in.
 */
export class PolicyTransport implements Transport {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: (<T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void) | undefined;

  readonly #inner: Transport;
  readonly #options: PolicyOptions;
  /** Each gets the server's answer, or nothing when none will come. */
  readonly #waiting = new Map<RequestId, (response: Response | undefined, extra?: MessageExtraInfo) => void>();
  /** Requests that an interceptor stands around, until they are over: it may never come to an end itself. */
  readonly #calls = new Map<RequestId, InterceptedCall>();
  /** What the connection may have ended with. */
  #reason: GatewayError | undefined;
  #hasStarted = false;
  #isClosed = false;
  #hasEnded = false;
  #inContext: RunInContext = anyContext;

  constructor(inner: LinkTransport, options: PolicyOptions) {
    this.#inner = inner;
    this.#options = options;
    // What an interceptor makes of a call is its own affair.
    inner.refusal = (request) => this.#refusalOf(this.#calls.get(request.id)?.request ?? request);
    inner.onclose = () => {
      for (const id of [...this.#waiting.keys()]) {
        this.#stopWaiting(id);
      }
      if (this.#calls.size === 0 || this.#isClosed) {
        this.#end();
      } else {
        // What interceptors were told just now becomes answers within this turn of the event loop, and the end comes after them.
        setImmediate(() => this.#end());
      }
    };
    inner.onerror = (error) => {
      // A line that was skipped ends nothing.
      this.#reason = GatewayError.is(error) && error.code !== 'MESSAGE_INVALID' ? error : this.#reason;
      this.#inContext(() => this.onerror?.(error));
    };
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
    this.#hasStarted = true;
    this.#inContext = currentContext();
    return this.#inner.start();
  }

  close(): Promise<void> {
    this.#isClosed = true;
    for (const call of [...this.#calls.values()]) {
      call.leave();
    }
    // It may have ended just before, and not have told so yet.
    return this.#inner.close().finally(() => this.#end());
  }

  send(message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    const isMessage = typeof message === 'object' && message !== null;
    if (!this.#hasStarted || this.#isClosed || this.#hasEnded || !isMessage) {
      // It says why it takes nothing; an answer of ours would come beside that, or to nobody.
      return this.#inner.send(message, options);
    }
    if (!isRequest(message) || message.method === 'initialize' || message.method === 'ping') {
      if ('method' in message && message.method === 'notifications/cancelled') {
        this.#cancel(message.params?.requestId as RequestId);
      }
      return this.#inner.send(message, options);
    }
    const { method, id } = message;
    const error = this.#refusalOf(message);
    if (error !== undefined) {
      this.#deliver({ jsonrpc: '2.0', id, error }, undefined);
      return handedOver;
    }
    if (this.#options.intercept === undefined) {
      if (method === 'tools/list') {
        this.#waiting.set(id, (response, extra) => response && this.#deliver(this.#filter(response), extra));
      }
      return this.#inner.send(message, options);
    }
    if (this.#calls.has(id)) {
      // The answer to the other one would pass by its interceptor.
      const text = `the request id ${JSON.stringify(id)} is in use by an open request`;
      return Promise.reject(
        new GatewayError('MESSAGE_INVALID', text, { server: this.#options.server, delivered: false }),
      );
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
    const run = new AbortController();
    let isPassedOn = false;
    // From then on nothing is passed on any more.
    let isOver = false;
    const call: InterceptedCall = {
      request,
      cancel() {
        isOver = true;
        accepted.resolve();
        run.abort(callerCancelled(server));
      },
      leave: () => run.abort(callerLeft(server)),
      end(reason) {
        const text = `${method} got no answer: the connection has ended before its interceptor has`;
        const delivered = isPassedOn ? 'unknown' : false;
        const error = new GatewayError('TRANSPORT_CLOSED', text, { server, delivered });
        answer(toResponse(id, server, error));
        run.abort(reason ?? error);
      },
    };
    this.#calls.set(id, call);
    let fate: 'open' | 'accepted' | 'refused' = 'open';
    const next = (params: Fields | undefined = request.params) =>
      new Promise<Fields>((resolve, reject) => {
        const settle = (response: Response = cancelledResponse(id, server)) =>
          'result' in response ? resolve(response.result) : reject(new ServerError(server, method, response.error));
        if (isOver) {
          return settle();
        }
        const error = this.#refusalOf(request);
        if (error !== undefined) {
          return settle({ jsonrpc: '2.0', id, error });
        }
        if (this.#waiting.has(id)) {
          return reject(new GatewayError('MESSAGE_INVALID', 'next() was called before it was answered', { server }));
        }
        isPassedOn = true;
        this.#waiting.set(id, settle);
        const message = { ...request, ...(params && { params: params as Params }) };
        this.#inner.send(message, options).then(
          () => {
            fate = 'accepted';
            accepted.resolve();
          },
          (error: unknown) => {
            // Where it was cancelled, another one may have its id by now.
            isOver || this.#waiting.delete(id);
            fate = fate === 'open' ? 'refused' : fate;
            accepted.reject(error);
            reject(error);
          },
        );
      });
    const answer = (response: Response) => {
      if (isOver) {
        return;
      }
      isOver = true;
      this.#calls.delete(id);
      if (this.#waiting.delete(id)) {
        // It has not waited for the server, whose answer would come beside its own.
        this.#callOff(id);
      }
      accepted.resolve();
      // Refused by send(): then there is no answer. Closed: then nobody waits for one.
      if (fate !== 'refused' && !this.#isClosed) {
        this.#deliver(method === 'tools/list' ? this.#filter(response) : response, undefined);
      }
    };
    const { params = {} } = request;
    const isStateless = hasEnvelope(request);
    const intercepted = { caller, authInfo: caller.authInfo, server, method, params, signal: run.signal };
    runInterceptor(intercept, intercepted, next).then(
      (result) => answer({ jsonrpc: '2.0', id, result: isStateless ? toPrivate(toComplete(method, result)) : result }),
      (error: unknown) => answer(toResponse(id, server, error)),
    );
    return accepted.promise;
  }

  /** Answers what an interceptor still holds, unless the caller has left, and tells of the end. */
  #end(): void {
    if (this.#hasEnded) {
      return;
    }
    this.#hasEnded = true;
    for (const call of [...this.#calls.values()]) {
      call.end(this.#reason);
    }
    this.#inContext(runCallback, this, () => this.onclose?.());
  }

  #callOff(id: RequestId): void {
    const params = { requestId: id, reason: 'the answer is no longer needed' };
    // A failure here is the end of the server, which is reported on its own.
    this.#inner.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params }).catch(() => {});
  }

  #cancel(id: RequestId): void {
    this.#calls.get(id)?.cancel();
    this.#calls.delete(id);
    this.#stopWaiting(id);
  }

  /** What waits for the server's answer in an interceptor learns that none will come. */
  #stopWaiting(id: RequestId): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.(undefined);
  }

  #receive(message: JSONRPCMessage, extra: MessageExtraInfo | undefined): void {
    const ended = this.#endedStream(message);
    if (ended !== undefined) {
      // As if the server had ended it by an answer.
      const result = { resultType: 'complete', _meta: { [metaKeys.subscriptionId]: ended } };
      return this.#receive({ jsonrpc: '2.0', id: ended, result }, extra);
    }
    const waiting = isResponse(message) && message.id !== undefined ? this.#waiting.get(message.id) : undefined;
    if (waiting === undefined) {
      this.#deliver(message, extra);
    } else {
      this.#waiting.delete((message as Response).id as RequestId);
      waiting(message as Response, extra);
    }
  }

  /** The stream that a server cancels, and that an interceptor stands around: that waits for an answer. */
  #endedStream(message: JSONRPCMessage): RequestId | undefined {
    if (!('method' in message) || message.method !== 'notifications/cancelled') {
      return undefined;
    }
    const request = findNamed(this.#calls, message.params?.requestId)?.request;
    return request?.method === 'subscriptions/listen' && this.#waiting.has(request.id) ? request.id : undefined;
  }

  #filter(response: Response): Response {
    const filter = this.#options.tools();
    const isOpen = filter.allow === undefined && filter.deny.length === 0;
    if (isOpen || !('result' in response) || !Array.isArray(response.result.tools)) {
      return response;
    }
    const tools = response.result.tools.filter((tool: Fields) => isToolAllowed(filter, textOf(tool?.name)));
    return { ...response, result: { ...response.result, tools } };
  }

  #refusalOf({ method, params }: JSONRPCRequest): RpcError | undefined {
    const isDenied = method === 'tools/call' && !isToolAllowed(this.#options.tools(), textOf(params?.name));
    return isDenied ? unknownTool(params?.name) : undefined;
  }

  #deliver(message: JSONRPCMessage, extra: MessageExtraInfo | undefined): void {
    this.#inContext(deliver, this, message, extra);
  }
}
