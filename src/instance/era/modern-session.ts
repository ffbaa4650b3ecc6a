import { GatewayError } from '../../errors.js';
import type { Clock } from '../../options.js';
import {
  isRequest,
  isResponse,
  type JSONRPCMessage,
  type JSONRPCNotification,
  type JSONRPCRequest,
  type MessageExtraInfo,
  type RequestId,
} from '../../sdk.js';
import { hasEnvelope } from '../../transport/modern.js';
import type { RelatedInfo } from '../../transport/related-info.js';
import { hasTasksExtension } from '../../transport/tasks.js';
import { type Fields, isFields } from '../../util/fields.js';
import { textOf } from '../../util/text-of.js';
import { toErrorResponse } from '../error-response.js';
import type { Response } from '../exchanges.js';
import type { SendOutcome } from '../strict-transport.js';
import { logLevels } from '../tell-log-level.js';
import { deliveredBefore } from './delivered-before.js';
import { InputRounds } from './input-rounds.js';
import { addTasks, createEnvelope, toModernCapabilities } from './introductions.js';
import { Listening } from './listening.js';
import type { Discovery } from './server-era.js';
import { toSessionResult } from './structured-content.js';
import { TaskCalls } from './task-calls.js';
import { translateError } from './translate-error.js';

export interface ModernSessionOptions {
  readonly server: string;
  readonly clock: Clock;
  readonly requestTimeoutMs: number;
  /** The params of the caller's `initialize`. */
  readonly caller: Fields;
  readonly discovery: Discovery;
  /** An id that no other request to the server has. */
  nextId(): RequestId;
  /** Sends to the server. An outcome with an error means that the server will not get it, and no answer comes. */
  post(message: JSONRPCMessage, onOutcome: SendOutcome): void;
  /** Hands a message to the caller. */
  deliver(message: JSONRPCMessage, extra: MessageExtraInfo | undefined): void;
}

const nothing = () => {};

/**
 * Lets a caller have a session, as the revisions up to 2025-11-25 know it, with a server of the stateless era. What the
 * caller sends in that era's own form, with an envelope, passes as it is, and so does its answer.
 */
export class ModernSession {
  readonly #options: ModernSessionOptions;
  readonly #capabilities: Fields;
  readonly #listening: Listening;
  readonly #rounds: InputRounds;
  /** Undefined for a server without tasks. */
  readonly #tasks: TaskCalls | undefined;
  /** Requests that came without an envelope, by the caller's id. */
  readonly #open = new Map<RequestId, JSONRPCRequest>();
  #envelope: Fields;

  constructor(options: ModernSessionOptions) {
    this.#options = options;
    const { server, clock, requestTimeoutMs, caller, nextId, deliver } = options;
    const hasTasks = hasTasksExtension(options.discovery.capabilities);
    this.#capabilities = addTasks(toModernCapabilities(caller.capabilities), hasTasks);
    this.#envelope = createEnvelope(this.#capabilities, caller.clientInfo);
    const cancel = (id: RequestId) =>
      this.#post({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: id } });
    const request = (id: RequestId, method: string, params: Fields) =>
      this.#post(this.#addEnvelope({ jsonrpc: '2.0', id, method, params: { ...params } }));
    const ask = (question: JSONRPCRequest, original: RequestId) =>
      deliver(question, { relatedRequestId: original } as RelatedInfo);
    const withdraw = (id: RequestId) =>
      deliver({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: id } }, undefined);
    const overdue = (id: RequestId, why = 'the client was asked for input, and gave none') => {
      const text = `no answer within request_timeout (${requestTimeoutMs} ms): ${why}`;
      const error = new GatewayError('REQUEST_TIMEOUT', text, { server });
      this.#answer(toErrorResponse(id, error, true));
    };
    const answer = (response: Response) => this.#answer(response);
    this.#tasks = hasTasks
      ? new TaskCalls({ clock, requestTimeoutMs, nextId, request, ask, withdraw, answer, overdue })
      : undefined;
    this.#listening = new Listening({
      server,
      clock,
      requestTimeoutMs,
      nextId,
      request,
      cancel,
      deliver: (notification) => deliver(notification, undefined),
    });
    this.#rounds = new InputRounds({
      clock,
      requestTimeoutMs,
      nextId,
      retry: (again) => this.#post(again),
      ask,
      withdraw,
      fail: (id, error) => this.#answer({ jsonrpc: '2.0', id, error }),
      overdue,
    });
  }

  /** Takes what the caller sends. */
  send(message: JSONRPCMessage, onOutcome: SendOutcome): void {
    if (isRequest(message)) {
      if (hasEnvelope(message)) {
        this.#options.post(message, onOutcome);
      } else {
        this.#request(message);
        onOutcome();
      }
      return;
    }
    if (isResponse(message)) {
      this.#tasks?.callerAnswered(message) || this.#rounds.answered(message);
    } else {
      this.#notified(message);
    }
    onOutcome();
  }

  /** Takes what the server sends. */
  receive(message: JSONRPCMessage, extra: RelatedInfo | undefined): void {
    if (isResponse(message)) {
      if (!this.#listening.answered(message) && !this.#tasks?.answered(message)) {
        this.#answered(message, extra);
      }
    } else if (
      !isRequest(message) &&
      // Of a stream that nobody has opened.
      message.method !== 'notifications/tasks' &&
      !this.#listening.receive(message)
    ) {
      const related = extra?.relatedRequestId;
      const original = related === undefined ? undefined : this.#rounds.originalOf(related);
      const info = original === undefined ? extra : ({ ...extra, relatedRequestId: original } as RelatedInfo);
      this.#options.deliver(message, info);
    }
    // A server of this era has no requests for its clients.
  }

  /** Answers what waits for nothing that is under way at the server: a person's answer, the end of a task. */
  failAll(reason: GatewayError): void {
    for (const id of [...this.#open.keys()]) {
      this.#answer(toErrorResponse(id, reason, 'unknown'));
    }
  }

  close(): void {
    this.#listening.close();
    this.#rounds.close();
    this.#tasks?.close();
    this.#open.clear();
  }

  #request(request: JSONRPCRequest): void {
    const { method, params, id } = request;
    switch (method) {
      case 'ping':
        // Nothing else asks for so little.
        this.#open.set(id, request);
        return this.#post(this.#addEnvelope({ jsonrpc: '2.0', id, method: 'server/discover' }));
      case 'logging/setLevel':
        if (!logLevels.includes(params?.level)) {
          // In the envelope it would have every later request refused.
          const message = `params.level must be one of ${logLevels.join(', ')}`;
          return this.#deliverLater({ jsonrpc: '2.0', id, error: { code: -32602, message } });
        }
        this.#envelope = createEnvelope(this.#capabilities, this.#options.caller.clientInfo, params?.level);
        return this.#deliverLater({ jsonrpc: '2.0', id, result: {} });
      case 'resources/subscribe':
        this.#open.set(id, request);
        this.#listening.subscribe(textOf(params?.uri)).then((error) => {
          if (!this.#open.has(id)) return;
          this.#answer(error === undefined ? { jsonrpc: '2.0', id, result: {} } : { jsonrpc: '2.0', id, error });
        }, nothing);
        return;
      case 'resources/unsubscribe':
        this.#listening.unsubscribe(textOf(params?.uri));
        return this.#deliverLater({ jsonrpc: '2.0', id, result: {} });
      default: {
        const complete = this.#addEnvelope(request);
        this.#open.set(id, complete);
        if (!this.#tasks?.takes(request)) {
          this.#post(this.#tasks === undefined ? complete : withoutTask(complete));
        }
      }
    }
  }

  #notified(message: JSONRPCNotification): void {
    if (message.method === 'notifications/initialized') {
      this.#listening.listenToLists(this.#options.discovery.capabilities);
      return;
    }
    if (message.method !== 'notifications/cancelled') {
      // Whatever else a caller of a session may say, this era has no word for.
      return;
    }
    const original = message.params?.requestId as RequestId;
    const { method, params } = this.#open.get(original) ?? {};
    if (method === 'resources/subscribe') {
      // What the server knows of it is a stream, which others may wait for.
      this.#open.delete(original);
      const isShared = [...this.#open.values()].some(
        (open) => open.method === method && open.params?.uri === params?.uri,
      );
      isShared || this.#listening.giveUp(textOf(params?.uri));
      return;
    }
    const current = this.#rounds.currentOf(original);
    this.#open.delete(original);
    this.#rounds.end(original);
    if (this.#tasks?.end(original, method) !== true && current !== undefined) {
      this.#post({ ...message, params: { ...message.params, requestId: current } });
    }
  }

  #answered(response: Response, extra: RelatedInfo | undefined): void {
    const id = this.#rounds.originalOf(response.id as RequestId) ?? (response.id as RequestId);
    const request = this.#open.get(id);
    if (request === undefined) {
      // Asked for in this era's own form.
      this.#options.deliver(response, extra);
      return;
    }
    if ('error' in response) {
      const error = id === response.id ? response.error : deliveredBefore(response.error);
      this.#finish({ jsonrpc: '2.0', id, error: translateError(error) });
      return;
    }
    const { resultType, ...result } = response.result as Record<string, unknown>;
    if (request.method === 'ping') {
      this.#finish({ jsonrpc: '2.0', id, result: {} });
    } else if (resultType === 'input_required') {
      this.#rounds.required(request, result);
    } else if (resultType === 'task' && request.method === 'tools/call' && this.#tasks !== undefined) {
      this.#rounds.end(id);
      this.#tasks.created(request, result);
    } else if (resultType === undefined || resultType === 'complete') {
      this.#finish({ jsonrpc: '2.0', id, result: this.#toLegacyResult(request, result) });
    } else {
      const message = `the server answered with a result of type ${JSON.stringify(textOf(resultType))}, which a session has no word for`;
      this.#finish({ jsonrpc: '2.0', id, error: { code: -32603, message } });
    }
  }

  #toLegacyResult({ method, params }: JSONRPCRequest, result: Record<string, unknown>): Record<string, unknown> {
    if (this.#tasks === undefined) {
      return result;
    }
    if (method === 'tools/list' && Array.isArray(result.tools)) {
      return { ...result, tools: result.tools.map(toTaskTool) };
    }
    return method === 'tools/call' && params?.task !== undefined ? this.#tasks.completed(result) : result;
  }

  #finish(response: Response & { id: RequestId }): void {
    this.#rounds.end(response.id);
    this.#answer(response);
  }

  #answer(response: Response): void {
    this.#open.delete(response.id as RequestId);
    const own = 'result' in response ? { ...response, result: toSessionResult(response.result) } : response;
    this.#options.deliver(own, undefined);
  }

  /** Never inside the caller's own `send`. */
  #deliverLater(response: Response): void {
    queueMicrotask(() => this.#options.deliver(response, undefined));
  }

  #post(message: JSONRPCMessage): void {
    this.#options.post(message, (error) => {
      if (error === undefined || !isRequest(message)) {
        return;
      }
      this.receive(toErrorResponse(message.id, error), undefined);
    });
  }

  #addEnvelope(request: JSONRPCRequest): JSONRPCRequest {
    const { params } = request;
    return { ...request, params: { ...params, _meta: { ...params?._meta, ...this.#envelope } } };
  }
}

/** That a caller wants a task this era has no word for: the server decides. */
function withoutTask(request: JSONRPCRequest): JSONRPCRequest {
  const { task, ...params }: Record<string, unknown> = { ...request.params };
  return request.method === 'tools/call' && task !== undefined ? { ...request, params } : request;
}

/** A tool that a session may call as a task. */
function toTaskTool(tool: unknown): unknown {
  return isFields(tool) ? { ...tool, execution: { taskSupport: 'optional' } } : tool;
}
