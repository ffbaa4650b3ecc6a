import type { GatewayErrorCode } from '../errors.js';
import { toErrorResponse } from '../instance/error-response.js';
import type { Response } from '../instance/exchanges.js';
import { toGatewayError } from '../instance/handshake.js';
import type { Link } from '../instance/link.js';
import { ServerError } from '../instance/server-error.js';
import type { JSONRPCRequest, RequestId } from '../sdk.js';
import type { MirroredArgument } from '../transport/http/mirrored-arguments.js';
import type { Fields } from '../util/fields.js';
import { textOf } from '../util/text-of.js';
import type { Calls } from './calls.js';
import type { EndpointServer } from './endpoint-server.js';
import type { Forwarder } from './forwarder.js';
import { isToolAllowed } from './glob.js';
import { checkParamHeaders } from './http/param-check.js';
import { toResponse } from './intercept.js';
import { calledTool, lateRefusal, unknownTool } from './late-refusal.js';
import type { ListItem } from './list-kinds.js';
import type { NameKind, Names } from './names.js';
import type { OpenCall } from './open-call.js';
import type { PeerExtra } from './peer.js';
import type { ResourceOwners } from './resource-owners.js';
import type { Subscriptions, SubscriptionWord } from './subscriptions.js';
import type { TaskOwners } from './tasks.js';

type Params = NonNullable<JSONRPCRequest['params']>;
type Extra = PeerExtra | undefined;
/** Gets the request whose name has led to a server. */
type Found = (request: JSONRPCRequest, kind: NameKind, server: EndpointServer, own: string, extra: Extra) => void;

/** With these a request has not gone to its end, by the will of the host or of the caller. */
const refusals: ReadonlySet<GatewayErrorCode> = new Set(['INTERCEPTED', 'REQUEST_CANCELLED']);

export interface RouterOptions {
  /** In the order of the catalog. */
  readonly servers: ReadonlyMap<string, EndpointServer>;
  readonly calls: Calls;
  readonly names: Names;
  readonly owners: ResourceOwners;
  readonly tasks: TaskOwners;
  readonly subscriptions: Subscriptions;
  readonly forwarder: Forwarder;
  /**
   * Whether another server has taken, or will take, the place of the one that has answered on this link.
   *
   * @param hasEnded - that server is not the one behind the link any more
   */
  isReplaced(link: Link | undefined, hasEnded: boolean): boolean;
  /** All of one server's list. */
  list(server: EndpointServer, kind: 'tools' | 'prompts', extra: Extra, call: OpenCall): Promise<readonly ListItem[]>;
  /** What a tool asks for in headers. */
  mirrored(server: EndpointServer, tool: string): Promise<readonly MirroredArgument[]>;
  /** Asks all servers for a list, so that their names are known. Gives the ids of those that did not answer. */
  learnNames(kind: 'tools' | 'prompts', extra: Extra, call: OpenCall): Promise<readonly string[]>;
  /** The same for their resources and templates, so that their owners are known. */
  listResources(extra: Extra, call: OpenCall): Promise<readonly string[]>;
}

/** Finds the server of a request by the name, URI or task in it, and hands it on under the server's own. */
export class Router {
  readonly #options: RouterOptions;

  constructor(options: RouterOptions) {
    this.#options = options;
  }

  /** Routes what belongs to one server; an error response says so when nothing leads anywhere. */
  route(request: JSONRPCRequest, extra: Extra): void {
    const { params } = request;
    switch (request.method) {
      case 'tools/call':
        return this.#byName(request, 'tool', extra);
      case 'prompts/get':
        return this.#byName(request, 'prompt', extra);
      case 'resources/read':
      case 'resources/subscribe':
      case 'resources/unsubscribe':
        return this.#byUri(request, params?.uri, (uri) => ({ ...params, uri }), extra);
      case 'completion/complete':
        return this.#byReference(request, extra);
      case 'tasks/get':
      case 'tasks/result':
      case 'tasks/cancel':
        return this.#byTask(request, extra);
      default:
        return this.#unknown(request, extra);
    }
  }

  #byName(request: JSONRPCRequest, kind: NameKind, extra: Extra): void {
    this.#resolveName(request, kind, request.params?.name, this.#toNamed, extra);
  }

  readonly #toNamed: Found = (request, kind, server, own, extra) => {
    const { calls, forwarder } = this.#options;
    if (kind === 'tool' && !isToolAllowed(server.tools, own)) {
      const { code, message } = unknownTool(request.params?.name);
      return calls.refuse(request, code, message);
    }
    const params = { ...request.params, name: own };
    if (kind === 'prompt' || extra?.headers === undefined) {
      return forwarder.forward(request, server, params, extra);
    }
    this.#checked(request, server, params, extra, extra.headers);
  };

  /** A call over HTTP: whoever has read its headers must not have been misled. */
  #checked(request: JSONRPCRequest, server: EndpointServer, params: Params, extra: Extra, headers: Headers): void {
    const { servers, calls, forwarder, mirrored } = this.#options;
    const call = calls.open(request, server.id);
    mirrored(server, String(params.name)).then(
      (found) => {
        const mismatch =
          lateRefusal(servers, server.id, calledTool(request, params)) ??
          checkParamHeaders(found, params.arguments, headers);
        if (!calls.take(call)) {
          return;
        }
        if (mismatch === undefined) {
          forwarder.forward(request, server, params, extra);
        } else {
          calls.refuse(request, mismatch.code, mismatch.message, mismatch.data);
        }
      },
      (error: unknown) => calls.finish(call, notSent(call.id, server.id, error)),
    );
  }

  /** Finds the origin of a name; one that is not known yet, but may be in a list, is looked up there first. */
  #resolveName(
    request: JSONRPCRequest,
    kind: NameKind,
    name: unknown,
    found: Found,
    extra: Extra,
    missed?: readonly string[],
  ): void {
    const { names, servers, calls } = this.#options;
    const origin = typeof name === 'string' ? names.resolve(kind, name) : undefined;
    const server = origin && servers.get(origin.server);
    if (origin !== undefined && server !== undefined) {
      return found(request, kind, server, origin.name, extra);
    }
    if (missed !== undefined || origin !== undefined || typeof name !== 'string') {
      return calls.refuse(request, -32602, `unknown ${kind}: ${textOf(name)}${notAsked(missed)}`);
    }
    const candidate = names.candidate(name);
    const asked = typeof candidate === 'object' ? servers.get(candidate.server) : candidate;
    if (asked === undefined) {
      return calls.refuse(request, -32602, `unknown ${kind}: ${name}`);
    }
    const call = calls.open(request, asked === 'anybody' ? undefined : asked.id);
    this.#learnNames(asked, kind, extra, call).then(
      (without) => calls.take(call) && this.#resolveName(request, kind, name, found, extra, without),
      (error: unknown) => calls.finish(call, notSent(call.id, call.server ?? 'gateway', error)),
    );
  }

  async #learnNames(
    asked: EndpointServer | 'anybody',
    kind: NameKind,
    extra: Extra,
    call: OpenCall,
  ): Promise<readonly string[]> {
    const { names, list, learnNames } = this.#options;
    const lists = kind === 'tool' ? 'tools' : 'prompts';
    if (asked === 'anybody') {
      return learnNames(lists, extra, call);
    }
    for (const { name } of await list(asked, lists, extra, call)) {
      if (typeof name === 'string') {
        names.qualify(kind, asked.id, name);
      }
    }
    return [];
  }

  #byUri(
    request: JSONRPCRequest,
    uri: unknown,
    toParams: (uri: string) => Params,
    extra: Extra,
    missed?: readonly string[],
  ): void {
    const { owners, servers, calls, forwarder, subscriptions } = this.#options;
    const { id, method } = request;
    const isEnd = method === 'resources/unsubscribe' && typeof uri === 'string';
    // What the caller has asked for at a server that is not there now must not come back with it.
    const isDropped = isEnd && subscriptions.drop(uri, (server) => servers.has(server));
    const owner = typeof uri === 'string' ? owners.find(uri) : undefined;
    // It may be listed no more, or by another server than when it was asked for.
    const origin = isEnd ? subscriptions.endOthers(uri, owner) : owner;
    const server = origin && servers.get(origin.server);
    if (origin !== undefined && server !== undefined) {
      const tooMany = method === 'resources/subscribe' ? subscriptions.refusal(server.id) : undefined;
      if (tooMany !== undefined) {
        return calls.refuse(request, tooMany.code, tooMany.message, tooMany.data);
      }
      const word =
        method === 'resources/subscribe' || isEnd
          ? subscriptions.say({ id, server: server.id, uri: origin.uri, form: uri as string, isEnd })
          : undefined;
      if (word !== undefined && isEnd && subscriptions.hasOther(word)) {
        // The server knows of one subscription, which has to stay.
        subscriptions.settle(word, false);
        return calls.answer(request, {});
      }
      return forwarder.forward(request, server, toParams(origin.uri), extra, (response, link, hasEnded) =>
        this.#resourceAnswered(request, server, origin.uri, word, response, link, hasEnded),
      );
    }
    if (isDropped) {
      return calls.answer(request, {});
    }
    if (missed !== undefined || typeof uri !== 'string') {
      return calls.refuse(request, -32002, `no server offers the resource ${textOf(uri)}${notAsked(missed)}`, { uri });
    }
    // Nobody has listed yet, or the resource is new: ask, then look again.
    const call = calls.open(request);
    void this.#options.listResources(extra, call).then((without) => {
      if (calls.take(call)) {
        this.#byUri(request, uri, toParams, extra, without);
      }
    });
  }

  #byTask(request: JSONRPCRequest, extra: Extra): void {
    const { tasks, servers, calls, forwarder } = this.#options;
    const taskId = request.params?.taskId;
    const origin = tasks.find(taskId);
    const server = origin && servers.get(origin.server);
    if (origin === undefined || server === undefined) {
      return calls.refuse(request, -32602, `unknown task: ${textOf(taskId)}`);
    }
    forwarder.forward(request, server, { ...request.params, taskId: origin.taskId }, extra);
  }

  #byReference(request: JSONRPCRequest, extra: Extra): void {
    const ref = request.params?.ref as Fields | undefined;
    if (ref?.type === 'ref/prompt') {
      const complete: Found = (_request, _kind, server, name) =>
        this.#options.forwarder.forward(request, server, { ...request.params, ref: { ...ref, name } }, extra);
      return this.#resolveName(request, 'prompt', ref.name, complete, extra);
    }
    if (ref?.type === 'ref/resource') {
      return this.#byUri(request, ref.uri, (uri) => ({ ...request.params, ref: { ...ref, uri } }), extra);
    }
    this.#options.calls.refuse(request, -32602, 'params.ref must be a ref/prompt or a ref/resource');
  }

  /** A method that we do not know goes where its name, URI or task leads. */
  #unknown(request: JSONRPCRequest, extra: Extra): void {
    const { names, servers, owners, tasks, calls } = this.#options;
    const { name, uri, taskId } = request.params ?? {};
    for (const kind of ['tool', 'prompt'] as const) {
      const origin = typeof name === 'string' ? names.resolve(kind, name) : undefined;
      if (origin !== undefined && servers.has(origin.server)) {
        return this.#byName(request, kind, extra);
      }
    }
    if (typeof uri === 'string' && owners.find(uri) !== undefined) {
      return this.#byUri(request, uri, (own) => ({ ...request.params, uri: own }), extra);
    }
    if (tasks.find(taskId) !== undefined) {
      return this.#byTask(request, extra);
    }
    calls.refuse(request, -32601, `method not found: ${request.method}`);
  }

  /** @param word - what the caller says of a subscription with it */
  #resourceAnswered(
    { method, params }: JSONRPCRequest,
    server: EndpointServer,
    uri: string,
    word: SubscriptionWord | undefined,
    response: Response,
    link: Link | undefined,
    hasEnded: boolean,
  ): Response {
    if (word !== undefined) {
      const { subscriptions, isReplaced } = this.#options;
      subscriptions.settle(word, subscribedBy(method, server, response), isReplaced(link, hasEnded));
      return response;
    }
    const asked = params?.uri as string;
    if (
      method === 'resources/read' &&
      asked !== uri &&
      'result' in response &&
      Array.isArray(response.result.contents)
    ) {
      const { result } = response;
      const contents = response.result.contents.map((part: Fields) =>
        part?.uri === uri ? { ...part, uri: asked } : part,
      );
      return { ...response, result: { ...result, contents } };
    }
    return response;
  }
}

/** Whether the caller is subscribed by an answer; undefined where that changes nothing. */
function subscribedBy(method: string, server: EndpointServer, response: Response): boolean | undefined {
  if ('result' in response) {
    return method === 'resources/subscribe';
  }
  const failure = toGatewayError(server.id, response.error);
  // Whatever became of it at this server, which may have ended or not have started: the next one must not get it.
  const isOff = method === 'resources/unsubscribe' && failure !== undefined && !refusals.has(failure.code);
  return isOff ? false : undefined;
}

/** The answer to a request that needed a list first, which has failed: whatever became of that, no server has got the request. */
function notSent(id: RequestId, server: string, thrown: unknown): Response {
  const ours = thrown instanceof ServerError ? toGatewayError(thrown.server, thrown.error) : undefined;
  return ours === undefined ? toResponse(id, server, thrown, false) : toErrorResponse(id, ours);
}

/** Who may have it all the same. */
function notAsked(missed: readonly string[] = []): string {
  return missed.length === 0 ? '' : `; no list came from ${missed.map((id) => `"${id}"`).join(', ')}`;
}
