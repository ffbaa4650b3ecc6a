import type { GatewayError } from '../errors.js';
import type { GatewayEvent } from '../events.js';
import type { Exchange } from '../instance/exchanges.js';
import type { Link, LinkOwner } from '../instance/link.js';
import type { LinkActivity } from '../instance/link-watch.js';
import { toUpdate } from '../instance/resource-part.js';
import type { Clock } from '../options.js';
import type { Caller } from '../runtime.js';
import {
  isRequest,
  isResponse,
  type JSONRPCMessage,
  type JSONRPCNotification,
  type JSONRPCRequest,
  type RequestId,
} from '../sdk.js';
import { Calls } from './calls.js';
import { ElicitationIds } from './elicitation-ids.js';
import type { EndpointServer } from './endpoint-server.js';
import { Forwarder } from './forwarder.js';
import type { Interceptor } from './intercept.js';
import { LatestCaller, type SeenCaller, sentBy } from './latest-caller.js';
import { type CallerHandshake, initializeResult, readInitialize } from './legacy-initialize.js';
import { ListAnswers } from './list-answers.js';
import { allListKinds, listKindOf } from './list-kinds.js';
import { LogLevel } from './log-level.js';
import { MergedLists } from './merged-lists.js';
import { createCallerNames, type Names } from './names.js';
import type { PeerExtra, SendInfo, SendToCaller, SessionPeer } from './peer.js';
import { ResourceOwners } from './resource-owners.js';
import { Router } from './router.js';
import { ServerLinks } from './server-links.js';
import { ServerRequests } from './server-requests.js';
import type { SnapshotStore } from './snapshot.js';
import { Subscriptions } from './subscriptions.js';
import { TaskOwners } from './tasks.js';
import { ToldSubscriptions } from './told-subscriptions.js';

export interface EndpointOptions {
  /** In the order of the catalog. */
  readonly servers: readonly EndpointServer[];
  readonly caller: Caller;
  /** Filled with what its messages say of the caller. */
  readonly seen?: SeenCaller | undefined;
  readonly names: Names;
  readonly snapshots: SnapshotStore;
  readonly intercept: Interceptor | undefined;
  readonly clock: Clock;
  /** Whether requests come with headers that have to say what their bodies do. */
  readonly overHttp?: boolean;
  /** Shown in `serverInfo`. */
  readonly version: string;
  emit(event: GatewayEvent): void;
  /** Called once, when it is closed. */
  onClosed?(): void;
  readonly send: SendToCaller;
}

const nothing = () => {};

/**
 * The merged peer for one caller with a session: a router of JSON-RPC messages. It looks at what it must to find the server, changes
 * names, ids and progress tokens, and leaves everything else as it came.
 */
export class Endpoint implements LinkOwner, SessionPeer {
  readonly clock: Clock;

  readonly #options: EndpointOptions;
  readonly #caller: LatestCaller;
  readonly #servers: Map<string, EndpointServer>;
  readonly #calls: Calls;
  readonly #links: ServerLinks;
  readonly #lists: MergedLists;
  readonly #router: Router;
  readonly #owners: ResourceOwners;
  readonly #serverRequests: ServerRequests;
  readonly #subscriptions = new Subscriptions((id, uri) => this.#told.tell(id, uri));
  readonly #told: ToldSubscriptions;
  readonly #tasks: TaskOwners;
  readonly #elicitations = new ElicitationIds();
  readonly #level = new LogLevel();
  readonly #answers: ListAnswers;
  #handshake: CallerHandshake | undefined;
  #closed = false;

  constructor(options: EndpointOptions) {
    const { snapshots, intercept, clock } = options;
    const names = createCallerNames(options.names);
    this.#options = options;
    const caller = new LatestCaller(options.caller, options.seen);
    this.#caller = caller;
    this.clock = clock;
    const servers = new Map(options.servers.map((server) => [server.id, server]));
    const owners = new ResourceOwners((id) => servers.has(id));
    this.#owners = owners;
    this.#tasks = new TaskOwners(clock);
    const send: SendToCaller = (message, info) => this.#send(message, info);
    const calls = new Calls(send);
    const links = new ServerLinks({
      servers,
      caller,
      snapshots,
      intercept,
      overHttp: options.overHttp === true,
      owner: this,
      onProgress: ({ id, displayName }, { message }) => calls.starting(id, message ?? `starting ${displayName}`),
    });
    this.#servers = servers;
    this.#calls = calls;
    this.#links = links;
    this.#serverRequests = new ServerRequests(send);
    this.#told = new ToldSubscriptions({
      servers,
      links,
      subscriptions: this.#subscriptions,
      onMayHaveChanged: (link, uri) => this.onNotification(link, toUpdate(uri), undefined),
    });
    this.#lists = new MergedLists({
      servers: () => [...servers.values()],
      names,
      owners,
      clock,
      links,
      emit: (event) => options.emit(event),
      onChanged: (method) => this.#handshake && this.#send({ jsonrpc: '2.0', method }),
    });
    const running = () => links.running();
    this.#answers = new ListAnswers({ servers, clock, calls, lists: this.#lists, tasks: this.#tasks, running });
    this.#router = new Router({
      servers,
      calls,
      names,
      owners,
      tasks: this.#tasks,
      subscriptions: this.#subscriptions,
      forwarder: new Forwarder({
        servers,
        caller,
        intercept,
        calls,
        links,
        owners,
        tasks: this.#tasks,
        elicitations: this.#elicitations,
      }),
      isReplaced: (link, hasEnded) => link !== undefined && (hasEnded || !links.has(link)),
      list: async (server, kind, extra, call) =>
        (await links.list(server, kind, extra, call.begin(server.id).signal)).items,
      mirrored: (server, tool) => links.mirrored(server, tool),
      learnNames: (kind, extra, call) => this.#lists.learn(kind, extra, call),
      listResources: async (extra, call) => {
        const kinds = ['resources', 'resourceTemplates'] as const;
        const settled = await Promise.allSettled(kinds.map((kind) => this.#lists.learn(kind, extra, call)));
        return [...new Set(settled.flatMap((each) => (each.status === 'fulfilled' ? each.value : [])))];
      },
    });
  }

  /** Takes a message of the caller; false for a request whose id is in use. Never throws. */
  receive(message: JSONRPCMessage, given?: PeerExtra): boolean {
    if (this.#closed) {
      return true;
    }
    const extra = sentBy(this.#options.caller, given);
    this.#caller.see(extra?.caller);
    if (isResponse(message)) {
      this.#serverRequests.answer(message, (server, result) => this.#tasks.restore(server, result));
    } else if (!isRequest(message)) {
      this.#notified(message);
    } else if (this.#calls.has(message.id)) {
      // Two requests of one name, of which only one could be answered.
      return false;
    } else {
      this.#dispatch(message, extra);
    }
    return true;
  }

  isOpen(id: RequestId): boolean {
    return this.#calls.has(id);
  }

  /** The server that an open request is for, once that is known. */
  serverOf(id: RequestId): string | undefined {
    return this.#calls.serverOf(id);
  }

  /** From what is known of the servers now. */
  initializeResult(): Record<string, unknown> {
    const { version } = this.#options;
    const known = [...this.#servers.values()].map((server) => ({
      server: server.displayName,
      snapshot: this.#links.snapshot(server),
    }));
    return initializeResult(this.#handshake ?? readInitialize(undefined), version, known);
  }

  /** The catalog has changed: takes over its servers, in their order, and tells the caller when its lists are others. */
  update(servers: readonly EndpointServer[]): void {
    const before = [...this.#servers.values()];
    this.#servers.clear();
    for (const server of servers) {
      this.#servers.set(server.id, server);
    }
    for (const server of before) {
      const { id, entry } = server;
      if (this.#servers.get(id)?.entry !== entry) {
        this.#lists.forget(id);
        // One that this caller may not see any more goes on without it.
        this.#links.replace(id, this.#servers.has(id) ? () => server.isKept() : () => false);
        this.#told.takeOver(id);
      }
    }
    const known = new Set(before.map(({ id }) => id));
    for (const { id } of servers) {
      // One that comes back, be it as another one.
      known.has(id) || this.#told.takeOver(id);
    }
    this.#calls.reloaded(this.#servers);
    const shown = (all: readonly EndpointServer[]) => all.map(({ id, tools }) => [id, tools]);
    const isReplaced = before.some(({ id, entry }) => this.#servers.get(id)?.entry !== entry);
    if (isReplaced || JSON.stringify(shown(before)) !== JSON.stringify(shown(servers))) {
      for (const kind of allListKinds) {
        this.#lists.changed(kind);
      }
    }
  }

  /** Answers what is still open, when it is not the caller who ends the connection. */
  failAll(reason: GatewayError): void {
    this.#calls.failAll(reason);
  }

  /** Ends every session with a server; open requests are abandoned. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#options.onClosed?.();
    this.#calls.clear();
    this.#lists.close();
    await this.#links.close();
  }

  /** @internal */
  initializeParams(): NonNullable<JSONRPCRequest['params']> {
    return (this.#handshake ?? readInitialize(undefined)).params;
  }

  /** @internal */
  activity(link: Link): LinkActivity {
    const { server } = link;
    if (this.#tasks.isRunning(link) || this.#serverRequests.isWaiting(server)) {
      return 'working';
    }
    return this.#subscriptions.of(server).length > 0 ? 'subscribed' : 'none';
  }

  /** @internal */
  onOpen(link: Link): void {
    this.#level.tell(link);
    const server = this.#servers.get(link.server);
    if (server === undefined || !this.#links.has(link)) {
      // A reload has replaced it while it opened: it serves what waits for it, and nothing else.
      return;
    }
    this.#told.opened(link);
    this.#compare(link, server);
  }

  /** @internal */
  onReopened(link: Link): void {
    const server = this.#servers.get(link.server);
    if (server !== undefined && this.#links.has(link)) {
      this.#links.forgetTools(server.id);
      this.#compare(link, server);
    }
  }

  /** @internal */
  onRequest(link: Link, request: JSONRPCRequest, origin: Exchange | undefined): void {
    // What it asks for of a task is about one that the caller runs, under an id of the caller's.
    const translated = request.method.startsWith('tasks/') ? request : this.#translate(link, request);
    this.#serverRequests.receive(link, translated, this.#handshake, origin?.callerId);
  }

  /** @internal */
  onNotification(link: Link, message: JSONRPCNotification, origin: Exchange | undefined): void {
    switch (message.method) {
      case 'notifications/tools/list_changed':
      case 'notifications/prompts/list_changed':
      case 'notifications/resources/list_changed':
        this.#links.changed(link, message.method);
        return this.#lists.changedBy(link.server, message.method);
      case 'notifications/cancelled':
        return this.#serverRequests.cancel(link, message.params);
      case 'notifications/resources/updated': {
        if (!this.#links.has(link) && !this.#subscriptions.covers(link.server, message.params?.uri)) {
          // A reload has replaced it, and what has ended since then it was not told.
          return;
        }
        const formOf = (uri: string) => this.#owners.formOf(link.server, uri);
        for (const { message: update, forms } of this.#subscriptions.translate(link.server, message, formOf)) {
          this.#send(update, { server: link.server, forms });
        }
        return;
      }
      default:
        this.#send(this.#translate(link, message), {
          related: origin?.callerId ?? link.latestCallerId,
          server: link.server,
          isGuess: origin?.callerId === undefined,
        });
    }
  }

  /** @internal */
  onEnd(link: Link): void {
    this.#serverRequests.end(link);
    this.#tasks.end(link);
    this.#lists.ended(link.server);
    if (this.#links.ended(link)) {
      this.#told.takeOver(link.server);
    }
  }

  /** A server has started: its lists may be others than the caller was shown. */
  #compare(link: Link, server: EndpointServer): void {
    this.#links.refreshSnapshot(link, server, this.#lists.started(server.id)).catch(nothing);
  }

  #dispatch(request: JSONRPCRequest, extra: PeerExtra | undefined): void {
    const kind = listKindOf(request.method);
    if (kind !== undefined) {
      return this.#answers.list(request, kind, extra);
    }
    switch (request.method) {
      case 'initialize':
        return this.#initialize(request);
      case 'ping':
        return this.#calls.answer(request, {});
      case 'logging/setLevel':
        return this.#setLevel(request);
      case 'tasks/list':
        return this.#answers.listTasks(request);
      default:
        return this.#router.route(request, extra);
    }
  }

  #notified(message: JSONRPCNotification): void {
    switch (message.method) {
      case 'notifications/cancelled': {
        const word = this.#subscriptions.cancelled(message.params?.requestId);
        this.#calls.cancel(message.params);
        if (word !== undefined && this.#links.running().some(({ server }) => server === word.server)) {
          // The server may have done it before it hears of that.
          this.#told.tell(word.server, word.uri);
        }
        return;
      }
      case 'notifications/progress':
        return this.#serverRequests.progress(message.params);
      case 'notifications/tasks/status':
        return this.#serverRequests.taskChanged(message);
      case 'notifications/roots/list_changed':
        for (const link of this.#links.active()) {
          link.tell(message);
        }
        return;
      default:
      // Each server got a notifications/initialized of its own; others name no server.
    }
  }

  #initialize(request: JSONRPCRequest): void {
    if (this.#handshake !== undefined) {
      return this.#calls.refuse(request, -32600, 'the session is initialized already');
    }
    this.#handshake = readInitialize(request.params);
    this.#calls.answer(request, this.initializeResult());
  }

  #setLevel(request: JSONRPCRequest): void {
    const level = request.params?.level;
    const problem = this.#level.problemOf(level);
    if (problem !== undefined) {
      return this.#calls.refuse(request, -32602, problem);
    }
    this.#level.set(level, this.#links.open());
    this.#calls.answer(request, {});
  }

  /** What a server says of tasks and pages, under the ids that the caller knows. */
  #translate<T extends JSONRPCRequest | JSONRPCNotification>(link: Link, message: T): T {
    const { params } = message;
    const ofTask = params && this.#tasks.translate(link.server, params, link);
    const translated = ofTask && isElicitation(message) ? this.#elicitations.translate(link.server, ofTask) : ofTask;
    return translated === params ? message : { ...message, params: translated };
  }

  #send(message: JSONRPCMessage, info?: SendInfo): void {
    if (!this.#closed) {
      this.#options.send(message, info);
    }
  }
}

function isElicitation({ method }: JSONRPCRequest | JSONRPCNotification): boolean {
  return method === 'elicitation/create' || method === 'notifications/elicitation/complete';
}
