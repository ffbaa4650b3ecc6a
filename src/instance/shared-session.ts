import type { GatewayError } from '../errors.js';
import type { Clock } from '../options.js';
import type { RuntimeProgress } from '../runtime.js';
import type { JSONRPCNotification, JSONRPCRequest, RequestId } from '../sdk.js';
import { copyWritable } from '../transport/copy-message.js';
import { legacyRevisions, metaKeys, ownInfo } from '../transport/modern.js';
import { isFields } from '../util/fields.js';
import { textOf } from '../util/text-of.js';
import type { Exchange, Response } from './exchanges.js';
import type { Handshake } from './handshake.js';
import { Link, type LinkOptions, type LinkOwner } from './link.js';
import type { LinkActivity } from './link-watch.js';
import { listChanges } from './list-changes.js';
import { deliverTo, SharedConnections, type SharedExchange } from './shared-connections.js';
import { SharedServerRequests } from './shared-server-requests.js';
import { SharedSubscriptions } from './shared-subscriptions.js';
import { SharedTasks } from './shared-tasks.js';
import type { SharedTransport, SharedTransportOwner } from './shared-transport.js';
import type { SendOutcome } from './strict-transport.js';
import { logLevels, tellLogLevel } from './tell-log-level.js';

type Params = NonNullable<JSONRPCRequest['params']>;

/**
 * Who shares an instance. `callers`: anybody, so the server is offered nothing that a caller would have to answer, and what
 * it says to nobody in particular reaches nobody. `one-caller`: several connections of one and the same caller, which may
 * answer for each other.
 */
export type Sharing = 'callers' | 'one-caller';

export interface SharedSessionOptions {
  readonly link: LinkOptions;
  readonly sharing: Sharing;
  readonly clock: Clock;
  /**
   * Nobody is attached any more, and nothing runs.
   *
   * @param ending - the end of the server, when that is still under way
   */
  onUnused(ending?: Promise<void>): void;
}

// What any connection of the one caller may tell the server.
const callerNotifications = new Set([
  'notifications/roots/list_changed',
  'notifications/progress',
  'notifications/tasks/status',
]);

/**
 * One session with one server that several connections use: one handshake, and ids, progress tokens, subscriptions and
 * tasks kept apart, so that no answer and no notification reaches anybody else.
 */
export class SharedSession implements LinkOwner, SharedTransportOwner {
  readonly clock: Clock;
  readonly #options: SharedSessionOptions;
  readonly #link: Link;
  readonly #connections = new SharedConnections();
  readonly #subscriptions: SharedSubscriptions;
  /** By their users, who may have several connections. */
  readonly #tasks: SharedTasks<unknown>;
  readonly #serverRequests: SharedServerRequests;
  #initializeParams: Params | undefined;
  /** Why no other server will take the place of this one. */
  #retired: GatewayError | undefined;

  constructor(options: SharedSessionOptions) {
    this.#options = options;
    this.clock = options.clock;
    // Every connection ends with the server.
    this.#link = new Link({ ...options.link, isBound: true }, this);
    this.#subscriptions = new SharedSubscriptions(this.#link, this.#connections);
    this.#serverRequests = new SharedServerRequests(this.#link, this.#connections, options.clock);
    this.#tasks = new SharedTasks(options.clock);
  }

  /** Ends the server and every connection, whose open requests are answered with the reason. */
  async close(reason: GatewayError): Promise<void> {
    const attached = this.#connections.all;
    for (const transport of attached) {
      transport.end(reason);
    }
    try {
      await this.#link.close();
    } finally {
      await Promise.all(attached.map((transport) => transport.close()));
    }
  }

  /**
   * The catalog has another entry of this id, or none. A server that runs and is used goes on, and every connection ends with
   * it; when none runs, they go on with the session that there is now.
   */
  async retire(reason: GatewayError): Promise<void> {
    this.#retired = reason;
    if (this.#link.handshake !== undefined && this.#connections.size > 0) {
      return;
    }
    this.#serverRequests.end();
    this.#options.onUnused();
    for (const transport of this.#connections.all) {
      transport.move(reason);
    }
    // Not before: one that ends with its server would be the last, and take along what others wait for.
    this.#connections.clear();
    // Its answers to what has moved reach nobody.
    await this.#link.close();
  }

  /** The start of the server has come further: all who wait for it are told. */
  starting(progress: RuntimeProgress): void {
    for (const transport of this.#connections.all) {
      transport.starting(progress);
    }
  }

  /** @internal */
  get isEnding(): boolean {
    // A start that fails ends nobody's connection.
    return this.#link.handshake !== undefined && this.#link.isEnding;
  }

  /** @internal */
  get isResting(): boolean {
    return this.#link.handshake === undefined;
  }

  /** @internal */
  enter(transport: SharedTransport): void {
    this.#connections.add(transport);
    this.#subscriptions.enter(transport);
    if (this.#options.sharing === 'one-caller') {
      // It may come from a session that a reload has replaced, and say it no second time.
      this.#initializeParams ??= transport.initializeParams;
    }
  }

  /** @internal */
  async leave(transport: SharedTransport): Promise<void> {
    const before = this.#level;
    const keptRunning = this.#link.activity() !== 'none';
    this.#connections.delete(transport);
    if (!this.#tasks.isEmpty && !this.#connections.all.some(({ user }) => user === transport.user)) {
      this.#tasks.forget(transport.user);
    }
    this.#subscriptions.leave(transport);
    this.#serverRequests.leave(transport);
    const isLast = this.#options.sharing === 'one-caller' || this.#retired !== undefined;
    if (this.#connections.size === 0 && isLast) {
      // Nobody else may use this server; should the caller come back, it gets a new one.
      const ending = this.#link.close();
      this.#options.onUnused(ending);
      await ending;
      return;
    }
    if (before?.level !== this.#level?.level) {
      // Nobody wants to read any more what it was told for the one that has left.
      tellLogLevel(this.#link, this.#level);
    }
    // Who has nothing open leaves without a trace: the time until it rests counts from the last use.
    keptRunning && this.#link.used();
    this.#reportUnused();
  }

  /** @internal The answer to `initialize`, from the one handshake that all share. */
  async initialize(params: Params | undefined): Promise<Readonly<Record<string, unknown>>> {
    this.#initializeParams ??= this.#options.sharing === 'one-caller' ? params : undefined;
    const { result } = await this.#link.open();
    // Whoever gets it may change it.
    return copyWritable(result);
  }

  /** @internal */
  request(
    from: SharedTransport,
    request: JSONRPCRequest,
    onAnswer: (response: Response) => void,
    onRefused: SendOutcome | undefined,
  ): RequestId | undefined {
    this.#connections.used(from);
    const { method, params } = request;
    // The link changes what it is given.
    const copy = { ...request };
    if (method === 'logging/setLevel') {
      // Log messages reach nobody where callers share it.
      const isForOne = this.#options.sharing === 'one-caller';
      if (isForOne && logLevels.includes(params?.level)) {
        from.level = params?.level;
        // Each connection gets what it wants of that.
        copy.params = { ...params, ...this.#level };
      }
      // A server that is not open yet is told when it is.
      if (!isForOne || this.isResting) {
        onAnswer({ jsonrpc: '2.0', id: request.id, result: {} });
        return undefined;
      }
    }
    if (method.startsWith('tasks/') && method !== 'tasks/list' && !this.#tasks.owns(from.user, params?.taskId)) {
      const error = { code: -32602, message: `unknown task: ${textOf(params?.taskId)}` };
      onAnswer({ jsonrpc: '2.0', id: request.id, error });
      return undefined;
    }
    const uri = params?.uri;
    if (method === 'resources/subscribe' && typeof uri === 'string') {
      this.#subscriptions.asked(from, request);
    }
    if (method === 'resources/unsubscribe' && typeof uri === 'string' && this.#subscriptions.end(from, uri)) {
      onAnswer({ jsonrpc: '2.0', id: request.id, result: {} });
      return undefined;
    }
    const isStream = method === 'subscriptions/listen';
    if (isStream && isFields(params?.notifications)) {
      // A task is its owner's to ask for.
      const { taskIds: _, ...notifications } = params.notifications;
      copy.params = { ...params, notifications };
    }
    const exchange: SharedExchange = {
      from,
      isStream,
      callerId: request.id,
      refusal: () => from.refusal?.(request),
      onAnswer: (response) => {
        this.#subscriptions.answered(from, request, 'result' in response);
        if (method === 'tasks/result') {
          this.#tasks.resultAnswered(params?.taskId, response);
        }
        if ('result' in response) {
          this.#tasks.see(from.user, response.result);
          const { result } = response;
          const shown = isStream
            ? ofStream(request.id, result)
            : method === 'tasks/list'
              ? this.#tasks.onlyOf(from.user, result)
              : result;
          onAnswer(shown === result ? response : { ...response, result: shown as typeof result });
        } else {
          onAnswer(response);
        }
      },
      onRefused,
      onProgress: from.progressOf(request),
    };
    return this.#link.request(copy, exchange);
  }

  /** @internal */
  cancel(from: SharedTransport, request: JSONRPCRequest, id: RequestId, params: Params | undefined): void {
    this.#link.cancel(id, params);
    this.#subscriptions.cancelled(from, request);
  }

  /** @internal A caller answers what the server had asked. */
  answer(from: SharedTransport, response: Response): void {
    this.#serverRequests.answer(from, response);
  }

  /** @internal */
  notify(message: JSONRPCNotification): void {
    if (this.#options.sharing === 'one-caller' && callerNotifications.has(message.method)) {
      this.#link.notify(message);
    }
  }

  /** @internal */
  activity(): LinkActivity {
    if (this.#serverRequests.any || this.#tasks.running) {
      return 'working';
    }
    return this.#subscriptions.any ? 'subscribed' : 'none';
  }

  /** @internal */
  initializeParams(): Params {
    return (
      this.#initializeParams ?? {
        protocolVersion: legacyRevisions[0],
        capabilities: {},
        clientInfo: ownInfo,
      }
    );
  }

  /** @internal */
  onOpen(link: Link): void {
    tellLogLevel(link, this.#level);
    this.#subscriptions.renew();
    for (const transport of this.#connections.all) {
      transport.opened(link.handshake as Handshake);
    }
  }

  /** @internal */
  onRequest(_link: Link, request: JSONRPCRequest, origin: Exchange | undefined): void {
    if (this.#options.sharing === 'callers') {
      this.#serverRequests.refuse(request.id, -32601, `a server that callers share cannot ask them: ${request.method}`);
      return;
    }
    this.#serverRequests.receive(request, origin);
  }

  /** @internal */
  onNotification(_link: Link, message: JSONRPCNotification, origin: Exchange | undefined): void {
    if (message.method === 'notifications/cancelled') {
      this.#serverRequests.withdraw(message);
      return;
    }
    if (origin?.isStream === true) {
      const { from, callerId } = origin as SharedExchange;
      deliverTo(from, { ...message, params: ofStream(callerId, message.params) }, origin);
      return;
    }
    this.#connections.tell(this.#receivers(message), message, origin);
  }

  /** @internal */
  onEnd(_link: Link, reason: GatewayError | undefined): void {
    this.#serverRequests.end();
    this.#tasks.clear();
    const why = reason ?? this.#retired;
    if (why !== undefined) {
      for (const transport of this.#connections.all) {
        transport.end(why);
      }
    }
    this.#reportUnused();
  }

  #receivers(message: JSONRPCNotification): readonly SharedTransport[] {
    const all = this.#connections.all;
    if (message.method === 'notifications/resources/updated') {
      return this.#subscriptions.of(String(message.params?.uri));
    }
    if (message.method === 'notifications/tasks/status') {
      const owner = this.#tasks.ownerOf(message.params?.taskId);
      this.#tasks.see(owner, message.params ?? {});
      return owner === undefined ? [] : all.filter(({ user }) => user === owner);
    }
    if (listChanges.has(message.method)) {
      // A stateless client hears of them in the streams that it has opened.
      return all.filter(({ hasSession }) => hasSession);
    }
    if (this.#options.sharing === 'callers') {
      return [];
    }
    const { level } = message.params ?? {};
    return message.method === 'notifications/message' && logLevels.includes(level)
      ? all.filter((transport) => logLevels.indexOf(level) >= logLevels.indexOf(transport.level))
      : all;
  }

  /** The lowest that a connection wants to read the log from. */
  get #level(): Params | undefined {
    if (this.#options.sharing === 'callers') {
      return undefined;
    }
    const wanted = new Set(this.#connections.all.map(({ level }) => level));
    const level = logLevels.find((each) => wanted.has(each));
    return level === undefined ? undefined : { level };
  }

  #reportUnused(): void {
    if (this.#connections.size > 0 || this.#link.handshake !== undefined) {
      return;
    }
    const { resting } = this.#link;
    if (resting !== undefined) {
      // Another session would start a server beside the one that ends.
      void resting.then(() => this.#reportUnused());
    } else if (this.#link.isActive) {
      // Whoever comes next may wait for this start, too; when it fails, nothing is left to share.
      this.#link.open().catch(() => this.#reportUnused());
    } else {
      this.#options.onUnused();
    }
  }
}

/** What a server says in a stream, under the id by which its caller knows that. */
function ofStream(callerId: RequestId | undefined, said: Params | undefined): Params {
  return { ...said, _meta: { ...said?._meta, [metaKeys.subscriptionId]: callerId } };
}
