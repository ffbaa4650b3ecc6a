import type { GatewayEvent } from '../events.js';
import type { Clock } from '../options.js';
import type { Caller, RuntimeProgress } from '../runtime.js';
import {
  isNotification,
  isRequest,
  isResponse,
  type JSONRPCMessage,
  type JSONRPCNotification,
  type JSONRPCRequest,
  type MessageExtraInfo,
  type RequestId,
  type Transport,
} from '../sdk.js';
import { isToolAllowed, type ToolFilter } from './glob.js';
import { type Interceptor, toResponse } from './intercept.js';
import { type CallerHandshake, initializeResult, readInitialize } from './legacy-initialize.js';
import { Link, type LinkOwner, type Response, ServerError } from './link.js';
import { type ListItem, type ListKind, listKindOf, listKinds } from './list-kinds.js';
import { MergedLists } from './merged-lists.js';
import type { NameKind, Names } from './names.js';
import { ResourceOwners } from './resource-owners.js';
import { ServerRequests } from './server-requests.js';
import { changedKinds, type SnapshotStore, takeSnapshot } from './snapshot.js';
import { TaskOwners } from './tasks.js';

type Params = NonNullable<JSONRPCRequest['params']>;
type Fields = Readonly<Record<string, unknown>>;

/** One server of the merged peer. */
export interface EndpointServer {
  readonly id: string;
  readonly displayName: string;
  readonly fingerprint: string;
  readonly listTimeoutMs: number;
  readonly startTimeoutMs: number;
  readonly restart: { readonly max: number; readonly backoffMs: number; readonly maxBackoffMs: number };
  readonly tools: ToolFilter;
  /** For whom a snapshot of its lists is good; undefined: for nobody but the caller of this one connection. */
  snapshotOwner(caller: Caller): string | undefined;
  /** A transport to an instance for this caller. */
  connect(caller: Caller, onProgress: (progress: RuntimeProgress) => void): Transport;
}

export interface EndpointOptions {
  /** In the order of the catalog. */
  readonly servers: readonly EndpointServer[];
  readonly caller: Caller;
  readonly names: Names;
  readonly snapshots: SnapshotStore;
  readonly intercept: Interceptor | undefined;
  readonly clock: Clock;
  readonly version: string;
  emit(event: GatewayEvent): void;
  /** Sends to the caller; `relatedRequestId` is the caller's request that the message belongs to, if any. */
  send(message: JSONRPCMessage, relatedRequestId: RequestId | undefined): void;
}

/** A request of the caller that waits for its answer. */
interface Call {
  readonly id: RequestId;
  readonly progressToken: RequestId | undefined;
  server: string | undefined;
  cancel(params: Params | undefined): void;
}

const levels = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'];
const nothing = () => {};

/**
 * The merged peer for one caller: a router of JSON-RPC messages. It looks at what it must to find the server, changes
 * names, ids and progress tokens, and leaves everything else as it came.
 */
export class Endpoint implements LinkOwner {
  readonly clock: Clock;

  readonly #options: EndpointOptions;
  readonly #servers: ReadonlyMap<string, EndpointServer>;
  readonly #links = new Map<string, Link>();
  readonly #calls = new Map<RequestId, Call>();
  readonly #owners: ResourceOwners;
  readonly #tasks = new TaskOwners();
  readonly #lists: MergedLists;
  readonly #serverRequests: ServerRequests;
  // By server: the server's URI, and the forms in which the caller subscribed to it.
  readonly #subscriptions = new Map<string, Map<string, Set<string>>>();
  #handshake: CallerHandshake | undefined;
  #level: unknown;
  #closed = false;

  constructor(options: EndpointOptions) {
    this.#options = options;
    this.clock = options.clock;
    this.#servers = new Map(options.servers.map((server) => [server.id, server]));
    this.#owners = new ResourceOwners((id) => this.#servers.has(id));
    this.#serverRequests = new ServerRequests((message, related) => this.#send(message, related));
    this.#lists = new MergedLists({
      servers: options.servers,
      names: options.names,
      owners: this.#owners,
      clock: options.clock,
      link: (server) => this.#link(server),
      snapshot: (server) => this.#snapshot(server),
      ask: (server, kind) => this.#askList(server, kind),
      emit: (event) => options.emit(event),
      onChanged: (method) => this.#handshake && this.#send({ jsonrpc: '2.0', method }, undefined),
    });
  }

  /** Takes a message of the caller. Never throws. */
  receive(message: JSONRPCMessage, extra?: MessageExtraInfo): void {
    if (this.#closed) {
      return;
    }
    if (isResponse(message)) {
      this.#serverRequests.answer(message);
    } else if (isRequest(message)) {
      // An id that is in use names two requests, of which only one could be answered.
      if (!this.#calls.has(message.id)) {
        this.#dispatch(message, extra);
      }
    } else if (isNotification(message)) {
      this.#notified(message);
    }
  }

  /** Whether a request of this id waits for its answer. */
  isOpen(id: RequestId): boolean {
    return this.#calls.has(id);
  }

  get inFlight(): number {
    return this.#calls.size;
  }

  /** Ends every session with a server; open requests are abandoned. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#calls.clear();
    this.#lists.close();
    await Promise.all([...this.#links.values()].map((link) => link.close()));
  }

  /** @internal */
  initializeParams(): Params {
    return (this.#handshake ?? readInitialize(undefined)).params;
  }

  /** @internal */
  onOpen(link: Link): void {
    const capabilities = link.handshake?.capabilities ?? {};
    if (this.#level !== undefined && capabilities.logging !== undefined) {
      link.ask('logging/setLevel', { level: this.#level }).catch(nothing);
    }
    for (const uri of this.#subscriptions.get(link.server)?.keys() ?? []) {
      link.ask('resources/subscribe', { uri }).catch(nothing);
    }
    const server = this.#servers.get(link.server) as EndpointServer;
    const owner = server.snapshotOwner(this.#options.caller);
    const before = this.#snapshot(server);
    if (before !== undefined || owner !== undefined) {
      this.#takeSnapshot(link, server, owner, before).catch(nothing);
    }
  }

  /** @internal */
  onRequest(link: Link, request: JSONRPCRequest): void {
    const params = request.params && this.#tasks.translate(link.server, request.params);
    this.#serverRequests.receive(
      link,
      params === request.params ? request : { ...request, ...(params && { params }) },
      this.#handshake,
    );
  }

  /** @internal */
  onNotification(link: Link, message: JSONRPCNotification): void {
    switch (message.method) {
      case 'notifications/tools/list_changed':
        return this.#lists.changed('tools');
      case 'notifications/prompts/list_changed':
        return this.#lists.changed('prompts');
      case 'notifications/resources/list_changed':
        return this.#lists.changed('resources');
      case 'notifications/resources/updated':
        return this.#resourceUpdated(link, message);
      case 'notifications/cancelled':
        return this.#serverRequests.cancel(link, message.params);
      default: {
        const params = message.params && this.#tasks.translate(link.server, message.params);
        this.#send(
          params === message.params ? message : { ...message, ...(params && { params }) },
          link.latestCallerId,
        );
      }
    }
  }

  /** @internal */
  onEnd(link: Link): void {
    this.#serverRequests.end(link);
  }

  #dispatch(request: JSONRPCRequest, extra: MessageExtraInfo | undefined): void {
    const { method, params } = request;
    const kind = listKindOf(method);
    if (kind !== undefined) {
      this.#list(request, kind);
      return;
    }
    switch (method) {
      case 'initialize':
        return this.#initialize(request);
      case 'ping':
        return this.#answerHere(request, {});
      case 'tools/call':
        return this.#routeByName(request, 'tool', params?.name, extra);
      case 'prompts/get':
        return this.#routeByName(request, 'prompt', params?.name, extra);
      case 'resources/read':
      case 'resources/subscribe':
      case 'resources/unsubscribe':
        return this.#routeByUri(request, params?.uri, (uri) => ({ ...params, uri }), extra);
      case 'completion/complete':
        return this.#complete(request, extra);
      case 'logging/setLevel':
        return this.#setLevel(request);
      case 'tasks/list':
        return this.#listTasks(request);
      case 'tasks/get':
      case 'tasks/result':
      case 'tasks/cancel':
        return this.#routeByTask(request, extra);
      default:
        return this.#routeUnknown(request, extra);
    }
  }

  #notified(message: JSONRPCNotification): void {
    const { method, params } = message;
    switch (method) {
      case 'notifications/cancelled': {
        const call = this.#calls.get(params?.requestId as RequestId);
        if (call !== undefined) {
          this.#calls.delete(call.id);
          call.cancel(params);
        }
        return;
      }
      case 'notifications/progress':
        return this.#serverRequests.progress(params);
      case 'notifications/roots/list_changed':
        for (const link of this.#links.values()) {
          if (link.handshake !== undefined) {
            link.notify(message);
          }
        }
        return;
      default:
        // notifications/initialized: each server got one of its own. Others name no server.
        return;
    }
  }

  #initialize(request: JSONRPCRequest): void {
    if (this.#handshake !== undefined) {
      return this.#refuse(request, -32600, 'the session is initialized already');
    }
    this.#handshake = readInitialize(request.params);
    const known = this.#options.servers.map((server) => ({
      server: server.displayName,
      snapshot: this.#snapshot(server),
    }));
    this.#answerHere(request, initializeResult(this.#handshake, this.#options.version, known));
  }

  #list(request: JSONRPCRequest, kind: ListKind): void {
    const call = this.#open(request, undefined);
    const cursor = request.params?.cursor;
    if (cursor !== undefined) {
      const page = this.#lists.next(cursor);
      this.#calls.delete(call.id);
      return page === undefined
        ? this.#refuse(request, -32602, 'the cursor is unknown or has expired; ask for the first page again')
        : this.#answerHere(request, toListResult(kind, page));
    }
    this.#lists.first(kind).then(
      (page) => this.#finish(call, { jsonrpc: '2.0', id: call.id, result: toListResult(kind, page) }),
      (error: unknown) => this.#finish(call, toResponse(call.id, '', error)),
    );
  }

  #routeByName(request: JSONRPCRequest, kind: NameKind, name: unknown, extra: MessageExtraInfo | undefined): void {
    this.#resolveName(request, kind, name, (server, own) => {
      if (kind === 'tool' && !isToolAllowed(server.tools, own)) {
        return this.#refuse(request, -32602, `unknown tool: ${String(name)}`);
      }
      this.#forward(request, server, { ...request.params, name: own }, extra);
    });
  }

  /** Finds the origin of a name; one that is not known yet, but may be in a list, is looked up there first. */
  #resolveName(
    request: JSONRPCRequest,
    kind: NameKind,
    name: unknown,
    found: (server: EndpointServer, own: string) => void,
    listed = false,
  ): void {
    const { names, servers } = this.#options;
    const origin = typeof name === 'string' ? names.resolve(kind, name) : undefined;
    const server = origin && this.#servers.get(origin.server);
    if (origin !== undefined && server !== undefined) {
      return found(server, origin.name);
    }
    if (listed || origin !== undefined || typeof name !== 'string') {
      return this.#refuse(request, -32602, `unknown ${kind}: ${String(name)}`);
    }
    const candidate = names.candidate(name);
    const asked = candidate === undefined ? servers : servers.filter(({ id }) => id === candidate);
    const call = this.#open(request, undefined);
    void Promise.allSettled(asked.map((each) => this.#learnNames(each, kind))).then(() => {
      if (this.#calls.delete(call.id)) {
        this.#resolveName(request, kind, name, found, true);
      }
    });
  }

  async #learnNames(server: EndpointServer, kind: NameKind): Promise<void> {
    for (const { name } of await this.#askList(server, kind === 'tool' ? 'tools' : 'prompts')) {
      if (typeof name === 'string') {
        this.#options.names.qualify(kind, server.id, name);
      }
    }
  }

  #routeByUri(
    request: JSONRPCRequest,
    uri: unknown,
    toParams: (uri: string) => Params,
    extra: MessageExtraInfo | undefined,
    listed = false,
  ): void {
    const origin = typeof uri === 'string' ? this.#owners.find(uri) : undefined;
    const server = origin && this.#servers.get(origin.server);
    if (origin !== undefined && server !== undefined) {
      return this.#forward(request, server, toParams(origin.uri), extra, (result) =>
        this.#resourceAnswered(request, server, origin.uri, result),
      );
    }
    if (listed || typeof uri !== 'string') {
      return this.#refuse(request, -32002, `no server offers the resource ${String(uri)}`, { uri });
    }
    // Nobody has listed yet, or the resource is new: ask, then look again.
    const call = this.#open(request, undefined);
    void Promise.allSettled([this.#lists.first('resources'), this.#lists.first('resourceTemplates')]).then(() => {
      if (this.#calls.delete(call.id)) {
        this.#routeByUri(request, uri, toParams, extra, true);
      }
    });
  }

  #routeByTask(request: JSONRPCRequest, extra: MessageExtraInfo | undefined): void {
    const origin = this.#tasks.find(request.params?.taskId);
    const server = origin && this.#servers.get(origin.server);
    if (origin === undefined || server === undefined) {
      return this.#refuse(request, -32602, `unknown task: ${String(request.params?.taskId)}`);
    }
    this.#forward(request, server, { ...request.params, taskId: origin.taskId }, extra);
  }

  /** A method that we do not know goes where its name, URI or task leads. */
  #routeUnknown(request: JSONRPCRequest, extra: MessageExtraInfo | undefined): void {
    const { name, uri, taskId } = request.params ?? {};
    const { names } = this.#options;
    for (const kind of ['tool', 'prompt'] as const) {
      const origin = typeof name === 'string' ? names.resolve(kind, name) : undefined;
      if (origin !== undefined && this.#servers.has(origin.server)) {
        return this.#routeByName(request, kind, name, extra);
      }
    }
    if (typeof uri === 'string' && this.#owners.find(uri) !== undefined) {
      return this.#routeByUri(request, uri, (own) => ({ ...request.params, uri: own }), extra);
    }
    if (this.#tasks.find(taskId) !== undefined) {
      return this.#routeByTask(request, extra);
    }
    this.#refuse(request, -32601, `method not found: ${request.method}`);
  }

  #complete(request: JSONRPCRequest, extra: MessageExtraInfo | undefined): void {
    const ref = request.params?.ref as Fields | undefined;
    if (ref?.type === 'ref/prompt') {
      return this.#resolveName(request, 'prompt', ref.name, (server, name) =>
        this.#forward(request, server, { ...request.params, ref: { ...ref, name } }, extra),
      );
    }
    if (ref?.type === 'ref/resource') {
      return this.#routeByUri(request, ref.uri, (uri) => ({ ...request.params, ref: { ...ref, uri } }), extra);
    }
    this.#refuse(request, -32602, 'params.ref must be a ref/prompt or a ref/resource');
  }

  #setLevel(request: JSONRPCRequest): void {
    const level = request.params?.level;
    if (!levels.includes(level as string)) {
      return this.#refuse(request, -32602, `params.level must be one of ${levels.join(', ')}`);
    }
    this.#level = level;
    for (const link of this.#links.values()) {
      if (link.handshake?.capabilities.logging !== undefined) {
        link.ask('logging/setLevel', { level }).catch(nothing);
      }
    }
    this.#answerHere(request, {});
  }

  /** The tasks of all servers that run; no server is started for its list. */
  #listTasks(request: JSONRPCRequest): void {
    const call = this.#open(request, undefined);
    const links = [...this.#links.values()].filter(
      (link) => (link.handshake?.capabilities.tasks as Fields | undefined)?.list !== undefined,
    );
    const parts = links.map(async (link) => {
      const { tasks } = this.#tasks.translate(link.server, await link.ask('tasks/list', undefined));
      return Array.isArray(tasks) ? tasks : [];
    });
    void Promise.allSettled(parts).then((results) => {
      const tasks = results.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
      this.#finish(call, { jsonrpc: '2.0', id: call.id, result: { tasks } });
    });
  }

  /** Sends a request to its server, by way of the interceptor, and its answer back. */
  #forward(
    request: JSONRPCRequest,
    server: EndpointServer,
    params: Params,
    extra: MessageExtraInfo | undefined,
    onResult: (result: Fields) => Fields = (result) => result,
  ): void {
    const { intercept, caller } = this.#options;
    const call = this.#open(request, server.id);
    const finish = (response: Response) => {
      if (!('result' in response)) {
        return this.#finish(call, response);
      }
      this.#owners.see(server.id, response.result);
      const result = onResult(this.#tasks.translate(server.id, response.result));
      this.#finish(call, result === response.result ? response : { ...response, result });
    };
    if (intercept === undefined) {
      this.#exchange(call, request, server, params, finish);
      return;
    }
    const next = (changed: Fields = params) =>
      new Promise<Fields>((resolve, reject) => {
        this.#exchange(call, request, server, changed as Params, (response) =>
          'result' in response
            ? resolve(response.result)
            : reject(new ServerError(server.id, request.method, response.error)),
        );
      });
    const { id, method } = request;
    const authInfo = extra?.authInfo ?? caller.authInfo;
    runAsync(() => intercept({ caller, authInfo, server: server.id, method, params }, next)).then(
      (result) => finish({ jsonrpc: '2.0', id, result: result as Record<string, unknown> }),
      (error: unknown) => this.#finish(call, toResponse(id, server.id, error)),
    );
  }

  #exchange(
    call: Call,
    request: JSONRPCRequest,
    server: EndpointServer,
    params: Params,
    onAnswer: (response: Response) => void,
  ): void {
    const link = this.#link(server);
    const { progressToken } = call;
    const id = link.request(
      { ...request, params },
      {
        callerId: call.id,
        onAnswer,
        ...(progressToken !== undefined && {
          onProgress: (progress: Params) =>
            this.#send(
              { jsonrpc: '2.0', method: 'notifications/progress', params: { ...progress, progressToken } },
              call.id,
            ),
        }),
      },
    );
    call.cancel = (reason) => link.cancel(id, reason);
  }

  /** A list of one server, by way of the interceptor. */
  async #askList(server: EndpointServer, kind: ListKind): Promise<readonly ListItem[]> {
    const link = this.#link(server);
    const { intercept, caller } = this.#options;
    if (intercept === undefined) {
      return link.list(kind);
    }
    const request = {
      caller,
      authInfo: caller.authInfo,
      server: server.id,
      method: listKinds[kind].method,
      params: {},
    };
    const result = await intercept(request, async () => ({ [kind]: await link.list(kind) }));
    return Array.isArray(result[kind]) ? (result[kind] as ListItem[]) : [];
  }

  #resourceAnswered(request: JSONRPCRequest, server: EndpointServer, uri: string, result: Fields): Fields {
    const asked = request.params?.uri as string;
    if (request.method === 'resources/subscribe') {
      const forms = this.#subscriptions.get(server.id) ?? new Map<string, Set<string>>();
      this.#subscriptions.set(server.id, forms.set(uri, (forms.get(uri) ?? new Set()).add(asked)));
    } else if (request.method === 'resources/unsubscribe') {
      const forms = this.#subscriptions.get(server.id)?.get(uri);
      forms?.delete(asked);
      if (forms?.size === 0) {
        this.#subscriptions.get(server.id)?.delete(uri);
      }
    } else if (asked !== uri && Array.isArray(result.contents)) {
      const contents = result.contents.map((part: Fields) => (part?.uri === uri ? { ...part, uri: asked } : part));
      return { ...result, contents };
    }
    return result;
  }

  #resourceUpdated(link: Link, message: JSONRPCNotification): void {
    const uri = message.params?.uri as string;
    const forms = this.#subscriptions.get(link.server)?.get(uri) ?? [uri];
    for (const form of forms) {
      this.#send(form === uri ? message : { ...message, params: { ...message.params, uri: form } }, undefined);
    }
  }

  #link(server: EndpointServer): Link {
    let link = this.#links.get(server.id);
    if (link === undefined) {
      const { caller } = this.#options;
      link = new Link(
        {
          server: server.id,
          startTimeoutMs: server.startTimeoutMs,
          connect: () => server.connect(caller, (progress) => this.#starting(server, progress)),
        },
        this,
      );
      this.#links.set(server.id, link);
    }
    return link;
  }

  /** Who waits for a start and wants progress hears of it; the numbers stay below all that a server would send. */
  #starting(server: EndpointServer, { message }: RuntimeProgress): void {
    for (const call of this.#calls.values()) {
      if (call.server === server.id && call.progressToken !== undefined) {
        const { progressToken } = call;
        const progress = -1 / this.#progressSteps++;
        const params = { progressToken, progress, message: message ?? `starting ${server.displayName}` };
        this.#send({ jsonrpc: '2.0', method: 'notifications/progress', params }, call.id);
      }
    }
  }
  #progressSteps = 1;

  #snapshot(server: EndpointServer) {
    const owner = server.snapshotOwner(this.#options.caller);
    return this.#options.snapshots.get(server.id, server.fingerprint, owner);
  }

  /** Looks whether what was known of a server is still true. */
  async #takeSnapshot(
    link: Link,
    server: EndpointServer,
    owner: string | undefined,
    before: ReturnType<SnapshotStore['get']>,
  ): Promise<void> {
    if (link.handshake === undefined) {
      return;
    }
    const after = await takeSnapshot(link, link.handshake, server.fingerprint);
    this.#options.snapshots.set(server.id, owner, after);
    for (const kind of before === undefined ? [] : changedKinds(before, after)) {
      this.#lists.changed(kind);
    }
  }

  #open(request: JSONRPCRequest, server: string | undefined): Call {
    const progressToken = request.params?._meta?.progressToken;
    const call: Call = { id: request.id, progressToken, server, cancel: nothing };
    this.#calls.set(call.id, call);
    return call;
  }

  /** Answers a call that still waits, once. */
  #finish(call: Call, response: Response): void {
    if (this.#calls.get(call.id) === call) {
      this.#calls.delete(call.id);
      this.#send({ ...response, id: call.id }, call.id);
    }
  }

  #answerHere(request: JSONRPCRequest, result: Record<string, unknown>): void {
    this.#send({ jsonrpc: '2.0', id: request.id, result }, request.id);
  }

  #refuse(request: JSONRPCRequest, code: number, message: string, data?: unknown): void {
    const error = { code, message, ...(data !== undefined && { data }) };
    this.#send({ jsonrpc: '2.0', id: request.id, error }, request.id);
  }

  #send(message: JSONRPCMessage, relatedRequestId: RequestId | undefined): void {
    if (!this.#closed) {
      this.#options.send(message, relatedRequestId);
    }
  }
}

function toListResult(
  kind: ListKind,
  { items, nextCursor }: { items: readonly ListItem[]; nextCursor: string | undefined },
) {
  return { [kind]: items, ...(nextCursor !== undefined && { nextCursor }) };
}

async function runAsync<T>(run: () => Promise<T>): Promise<T> {
  return run();
}
