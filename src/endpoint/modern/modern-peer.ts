import type { GatewayError } from '../../errors.js';
import { askable } from '../../instance/era/input-rounds.js';
import { toErrorResponse } from '../../instance/error-response.js';
import type { Response, RpcError } from '../../instance/exchanges.js';
import type { Clock } from '../../options.js';
import {
  isRequest,
  isResponse,
  type JSONRPCMessage,
  type JSONRPCNotification,
  type JSONRPCRequest,
  type RequestId,
} from '../../sdk.js';
import { metaKeys } from '../../transport/modern.js';
import { isWritable } from '../../transport/nesting.js';
import { hasTasksExtension, metaOfTask } from '../../transport/tasks.js';
import { type Fields, isFields } from '../../util/fields.js';
import { listKindOf } from '../list-kinds.js';
import type { PeerExtra, PeerFactory, SendInfo, SessionPeer } from '../peer.js';
import { CallTable } from './call-table.js';
import { type Asked, type CallerSession, CallerSessions, mostSessions } from './caller-sessions.js';
import { type Envelope, missingTasks, readEnvelope } from './envelope.js';
import { InputRequests, resumable } from './input-requests.js';
import { Listens } from './listens.js';
import { ModernCall, type Reply } from './modern-call.js';
import { answerWhenOpen, type OpenExchange } from './open-exchange.js';
import { type RequestStates, withState } from './request-states.js';
import { toDiscovery, toModernResult } from './results.js';
import { SessionTasks, taskMethods } from './session-tasks.js';
import { hasRefused, toModernResponse } from './translate-response.js';

export interface ModernPeerOptions {
  readonly clock: Clock;
  readonly states: RequestStates;
  /** Whose states these are. */
  readonly caller: string;
  /** Whether every caller of the gateway gets the same from it, as far as the gateway can tell. */
  readonly isForAll: boolean;
  /** Makes the peer of a caller with a session. */
  readonly createSession: PeerFactory<SessionPeer>;
}

/** What sessions know and the stateless era has no word for. */
const unknown: ReadonlySet<string> = new Set([
  'initialize',
  'ping',
  'logging/setLevel',
  'resources/subscribe',
  'resources/unsubscribe',
  'tasks/list',
  'tasks/result',
]);

const nothing: OpenExchange = { cancel() {} };

/**
 * The merged peer for one caller of the stateless era. Every request stands for itself; behind it there is a session for
 * each set of capabilities that the caller declares, which talks to the servers: to those of the stateless era in the
 * caller's own words, and to the others in theirs.
 */
export class ModernPeer {
  readonly #options: ModernPeerOptions;
  readonly #sessions: CallerSessions;
  readonly #calls = new CallTable();
  readonly #inputs: InputRequests;
  readonly #listens: Listens;
  readonly #tasks: SessionTasks;
  /** Requests for tasks, which are not answered yet. */
  readonly #taskRequests = new Set<{ readonly id: RequestId; readonly reply: Reply }>();
  #closed = false;

  constructor(options: ModernPeerOptions) {
    this.#options = options;
    const { clock, states, caller, createSession } = options;
    this.#sessions = new CallerSessions({
      createSession,
      receive: (session, message, info) => this.#receive(session, message, info),
      isUsed: (session) => this.#isKept(session) || this.#calls.isUsing(session),
      onEnd: (session) => this.#tasks.end(session),
    });
    this.#tasks = new SessionTasks(this.#sessions);
    this.#inputs = new InputRequests({ clock, states, caller, onExpired: (call) => this.#abandon(call, {}) });
    this.#listens = new Listens({ ask: (...question) => this.#sessions.ask(...question) });
  }

  /** Whether no request is open and no task runs, streams that listen included. */
  get isIdle(): boolean {
    return (
      this.#calls.size === 0 &&
      this.#taskRequests.size === 0 &&
      !this.#sessions.all.some((session) => this.#isKept(session))
    );
  }

  /** Whether something goes on in a session although no request is open. */
  #isKept(session: CallerSession): boolean {
    return this.#listens.isUsing(session) || this.#tasks.isUsing(session, this.#options.clock.now());
  }

  /** Takes a request with an envelope. Its answer goes to `reply`, unless it is cancelled before. */
  request(request: JSONRPCRequest, extra: PeerExtra | undefined, reply: Reply): OpenExchange {
    const refuse = (error: RpcError) => {
      reply({ jsonrpc: '2.0', id: request.id, error });
      return nothing;
    };
    if (this.#closed) {
      return refuse({ code: -32603, message: 'the gateway is closed' });
    }
    const envelope = readEnvelope(request);
    if ('code' in envelope) {
      return refuse(envelope);
    }
    const { method, params } = request;
    if (unknown.has(method)) {
      return refuse({ code: -32601, message: `method not found: ${method} (of earlier revisions)` });
    }
    if (taskMethods.has(method) && !hasTasksExtension(envelope.capabilities)) {
      return refuse(missingTasks(`${method} needs`));
    }
    if (this.#taskOf(request)?.isPassed === false) {
      return this.#answerTask(request, extra, reply);
    }
    if (params?.requestState !== undefined && resumable.has(method)) {
      const meaning = this.#options.states.open(this.#options.caller, request, params.requestState);
      const held = meaning?.kind === 'held' ? this.#inputs.find(meaning.call, meaning.round) : undefined;
      if (meaning === undefined || (meaning.kind === 'held' && held === undefined)) {
        const message =
          'params.requestState is not good: it has expired or was used, or is of another request or caller';
        return refuse({ code: -32602, message });
      }
      if (meaning.kind === 'again' && hasRefused(params.inputResponses)) {
        // The server would only want the page seen once more.
        return refuse({ code: -32603, message: 'the server needs a page to be seen first, which was refused' });
      }
      if (held !== undefined) {
        return this.#resume(held, request, reply, envelope.logLevel);
      }
      const own = meaning.kind === 'passed' ? { ...extra, stateOf: meaning.server } : extra;
      return this.#begin(withState(request, meaning), own, envelope, reply, request);
    }
    return this.#begin(request, extra, envelope, reply, request);
  }

  /** What the caller has sent last of the open request that its session knows under this id. */
  sentAs(id: RequestId): JSONRPCRequest | undefined {
    return this.#calls.get(id)?.request;
  }

  /** Answers what is still open, when it is not the caller who ends the connection. */
  failAll(reason: GatewayError): void {
    this.#sessions.failAll(reason);
    this.#listens.finishAll();
    // They know best what their servers have got, and tell whatever works on it.
    for (const { peer } of this.#sessions.all) {
      peer.failAll(reason);
    }
    for (const call of this.#calls.all) {
      this.#finish(call, toErrorResponse(call.id, reason, 'unknown'), undefined);
    }
    for (const { id, reply } of this.#taskRequests) {
      reply(toErrorResponse(id, reason, 'unknown'));
    }
    this.#taskRequests.clear();
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const call of this.#calls.all) {
      this.#options.clock.clearTimeout(call.timer);
    }
    this.#calls.clear();
    this.#taskRequests.clear();
    await this.#sessions.close();
  }

  /** @param original - as the caller sent it, before its state was taken out */
  #begin(
    request: JSONRPCRequest,
    extra: PeerExtra | undefined,
    envelope: Envelope,
    reply: Reply,
    original: JSONRPCRequest,
  ): OpenExchange {
    const task = this.#taskOf(request);
    const session = task?.session ?? this.#sessions.of(envelope);
    if (session === undefined) {
      const message = `the caller uses ${mostSessions} sets of capabilities at once already`;
      reply({ jsonrpc: '2.0', id: request.id, error: { code: -32603, message } });
      return nothing;
    }
    if (request.method === 'server/discover') {
      return answerWhenOpen(session, request, reply, (initialized) => {
        const result = toModernResult(
          request.method,
          toDiscovery(session.initialized ?? initialized, envelope.capabilities),
        );
        reply({ jsonrpc: '2.0', id: request.id, result });
        return undefined;
      });
    }
    if (request.method === 'subscriptions/listen') {
      return answerWhenOpen(session, request, reply, (initialized) =>
        this.#listens.open(request, extra, session, initialized, reply),
      );
    }
    const call = new ModernCall(this.#sessions.nextId(), session, original, reply);
    call.logLevel = envelope.logLevel;
    this.#calls.add(call);
    this.#sessions.wantLog(session, envelope.logLevel);
    const { name, _meta: meta } = request.params ?? {};
    call.isTask =
      request.method === 'tools/call' && hasTasksExtension(envelope.capabilities) && this.#tasks.isRequired(name);
    const params = {
      ...request.params,
      ...(call.isTask && { task: {} }),
      ...(task && { taskId: task.taskId }),
      ...(call.progressToken !== undefined && { _meta: { ...meta, progressToken: call.id } }),
    };
    session.peer.receive({ ...request, id: call.id, params }, extra);
    return this.#exchange(call, reply);
  }

  /** The task that a request asks for. */
  #taskOf({ method, params }: JSONRPCRequest) {
    return taskMethods.has(method) ? this.#tasks.find(params?.taskId) : undefined;
  }

  #answerTask(request: JSONRPCRequest, extra: PeerExtra | undefined, reply: Reply): OpenExchange {
    const open = { id: request.id, reply };
    this.#taskRequests.add(open);
    const asked: Asked = {};
    void this.#tasks.answer(request, extra, asked).then((response) => {
      if (this.#taskRequests.delete(open)) {
        const { states, caller, isForAll } = this.#options;
        reply(toModernResponse(request, response, { states, caller, isForAll, server: undefined }));
      }
    });
    return {
      cancel: () => {
        this.#taskRequests.delete(open);
        asked.callOff?.();
      },
    };
  }

  #resume(call: ModernCall, request: JSONRPCRequest, reply: Reply, logLevel: string | undefined): OpenExchange {
    call.request = request;
    call.reply = reply;
    call.logLevel = logLevel;
    this.#sessions.wantLog(call.session, logLevel);
    this.#inputs.takeAnswers(call, request.params?.inputResponses);
    const { response } = call;
    if (response === undefined) {
      this.#inputs.goOn(call);
    } else {
      // It ended between two rounds.
      this.#finish(call, response, call.server);
    }
    return this.#exchange(call, reply);
  }

  #exchange(call: ModernCall, reply: Reply): OpenExchange {
    return {
      cancel: (params) => {
        // Between two rounds the caller waits for nothing that it could cancel.
        if (call.reply === reply) {
          this.#abandon(call, params);
        }
      },
    };
  }

  /** Ends a call that nobody waits for. */
  #abandon(call: ModernCall, params: Fields | undefined): void {
    call.reply = undefined;
    const { id, session } = call;
    const server = session.peer.serverOf(id);
    if (this.#calls.delete(call)) {
      session.peer.receive({
        jsonrpc: '2.0',
        method: 'notifications/cancelled',
        params: { ...params, requestId: id },
      });
      this.#inputs.end(call, () => this.#calls.resumable(session, server));
    }
  }

  /** @param server - whose answer it is, if it is one's */
  #finish(call: ModernCall, response: Response, server: string | undefined): void {
    if (call.reply === undefined) {
      // Kept until the caller comes back.
      call.response = response;
      call.server = server;
      return;
    }
    this.#calls.delete(call);
    this.#inputs.end(call, () => this.#calls.resumable(call.session, server));
    const { states, caller, isForAll } = this.#options;
    // Only now: a state that it hands out is good for a while from here.
    call.answer(toModernResponse(call.request, response, { states, caller, server, isForAll }));
  }

  /** Takes what a session has for its caller. */
  #receive(session: CallerSession, message: JSONRPCMessage, info: SendInfo): void {
    const { related, server, isGuess } = info;
    if (this.#closed) {
      return;
    }
    if (isResponse(message)) {
      const call = this.#calls.get(message.id as RequestId);
      if (call !== undefined) {
        this.#finish(call, this.#withTask(call, message), server);
      }
    } else if (isRequest(message)) {
      const refuse = (text: string, code = -32601) =>
        session.peer.receive({ jsonrpc: '2.0', id: message.id, error: { code, message: text } });
      if (!isWritable(message)) {
        // The answer of its call, or the state of its task, which has to hold it, could not be written either.
        refuse('the client could not be asked', -32603);
        return;
      }
      const told = isGuess === true ? undefined : related;
      const call = this.#calls.toAskIn(session, told, server);
      if (this.#tasks.takes(session, message)) {
        return;
      }
      if (!askable.has(message.method)) {
        refuse(`the client cannot be asked for ${message.method}`);
      } else if (call === undefined) {
        refuse('the client can be asked only in the course of one of its requests');
      } else {
        this.#inputs.ask(call, message, call.id === told ? [] : this.#calls.resumable(session, server));
      }
    } else {
      this.#notified(session, message, info);
    }
  }

  /** Learns of tools and tasks from what servers answer. */
  #withTask({ session, request, isTask }: ModernCall, response: Response): Response {
    if (taskMethods.has(request.method)) {
      return this.#tasks.passed(request, response);
    }
    if (!('result' in response)) {
      return this.#needsTask(request, response.error)
        ? { ...response, error: missingTasks('the tool needs') }
        : response;
    }
    const { result } = response;
    const { task, tools, resultType } = result;
    if (listKindOf(request.method) === 'tools') {
      this.#tasks.learn(tools);
    }
    const isPassed = resultType === 'task';
    const begun = isPassed ? result : isTask && isFields(task) ? task : undefined;
    return begun === undefined
      ? response
      : {
          ...response,
          result: {
            ...metaOfTask(result),
            ...this.#tasks.created(session, begun, this.#options.clock.now(), isPassed),
          },
        };
  }

  /** Whether a server with sessions has refused to run a tool other than as a task, for a caller that has none. */
  #needsTask({ method, params }: JSONRPCRequest, { code }: RpcError): boolean {
    const declared = params?._meta?.[metaKeys.clientCapabilities] as Fields;
    return (
      code === -32601 && method === 'tools/call' && this.#tasks.isRequired(params?.name) && !hasTasksExtension(declared)
    );
  }

  #notified(session: CallerSession, message: JSONRPCNotification, info: SendInfo): void {
    const { method, params } = message;
    switch (method) {
      case 'notifications/tools/list_changed':
      case 'notifications/prompts/list_changed':
      case 'notifications/resources/list_changed':
      case 'notifications/resources/updated':
        return this.#listens.dispatch(session, message, info.forms);
      case 'notifications/cancelled':
        this.#tasks.withdraw(session, params?.requestId);
        return this.#inputs.withdraw(session, params?.requestId);
      default:
        return this.#calls.notify(session, message, info);
    }
  }
}
