import type { Exchange, Response, RpcError } from '../instance/exchanges.js';
import type { Link } from '../instance/link.js';
import { ServerError } from '../instance/server-error.js';
import type { OnProgress } from '../instance/task-progress.js';
import type { JSONRPCRequest, RequestId } from '../sdk.js';
import { type JsonPart, partOf } from '../transport/json-part.js';
import type { Fields } from '../util/fields.js';
import type { Calls } from './calls.js';
import type { ElicitationIds } from './elicitation-ids.js';
import type { EndpointServer } from './endpoint-server.js';
import { cancelledResponse, type Interceptor, runInterceptor, senderOf, toResponse } from './intercept.js';
import { type CalledTool, calledTool, lateRefusal, serverGone } from './late-refusal.js';
import type { LatestCaller } from './latest-caller.js';
import type { Call, OpenCall } from './open-call.js';
import type { PeerExtra } from './peer.js';
import type { ResourceOwners } from './resource-owners.js';
import type { ServerLinks } from './server-links.js';
import type { TaskOwners } from './tasks.js';

type Params = NonNullable<JSONRPCRequest['params']>;
/** @param hasEnded - the server that has answered is not the one behind the link any more */
type OnAnswer = (response: Response, link: Link | undefined, hasEnded: boolean) => Response;

/** What an interceptor makes of an answer, and where that came from. */
interface Intercepted {
  readonly response: Response;
  readonly link: Link | undefined;
  /** The server that has answered is not the one behind the link any more. */
  readonly hasEnded: boolean;
  /** The task that has begun with the answer. */
  readonly begun: unknown;
}

export interface ForwarderOptions {
  /** By id, as the catalog has them now. */
  readonly servers: ReadonlyMap<string, EndpointServer>;
  readonly caller: LatestCaller;
  readonly intercept: Interceptor | undefined;
  readonly calls: Calls;
  readonly links: ServerLinks;
  readonly owners: ResourceOwners;
  readonly tasks: TaskOwners;
  readonly elicitations: ElicitationIds;
}

/** Sends a caller's request to its server, by way of the interceptor, and the answer back. */
export class Forwarder {
  readonly #options: ForwarderOptions;

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  /**
   * @param params - as the server is to get them
   * @param onAnswer - looks at an answer on its way back, and may change it
   */
  forward(
    request: JSONRPCRequest,
    server: EndpointServer,
    params: Params,
    extra: PeerExtra | undefined,
    onAnswer?: OnAnswer,
  ): void {
    const { intercept, calls, links, tasks } = this.#options;
    if (extra?.stateOf !== undefined && extra.stateOf !== server.id) {
      // A reload has given the name or URI to another one.
      return calls.refuse(request, -32602, 'params.requestState is not good: it is of another server');
    }
    if (intercept === undefined) {
      const seen = onAnswer ?? this.#ofTask(request.method, params);
      const call = new PlainCall(request, calledTool(request, params), links.to(server), this.#options, seen);
      calls.add(call);
      call.send({ ...request, params }, partOf(extra));
      return;
    }
    const call = calls.open(request, server.id);
    void this.#intercepted(intercept, call, request, server, params, extra).then((answer) => {
      const { response, link, begun } = answer;
      if (begun !== undefined && !(calls.waits(call) && 'result' in response && taskIdOf(response.result) === begun)) {
        // Nobody will ever ask for it.
        tasks.forget(link, begun);
      }
      calls.finish(call, translate(this.#options, server.id, response, onAnswer, link, answer));
    });
  }

  async #intercepted(
    intercept: Interceptor,
    call: OpenCall,
    request: JSONRPCRequest,
    server: EndpointServer,
    params: Params,
    extra: PeerExtra | undefined,
  ): Promise<Intercepted> {
    const { caller, servers, calls, links, tasks } = this.#options;
    const { id, method } = request;
    const { signal } = call.begin(server.id);
    const tool = calledTool(request, params);
    const refusal = () => lateRefusal(servers, server.id, tool);
    const onProgress = progressOf(calls, call);
    /** What the interceptor has sent, each with what calls it off and what answers it in place of the server. */
    const open = new Set<{ stop(reason: Params | undefined): unknown; refuse(): void }>();
    call.cancel = (reason) => {
      for (const { stop, refuse } of open) {
        stop(reason);
        // An interceptor that waits for the answer must come to its end.
        refuse();
      }
    };
    let isPassedOn = false;
    call.onReload = () => {
      const refused = isPassedOn || servers.has(server.id) ? undefined : refusal();
      if (refused !== undefined) {
        // Whatever an interceptor waits for, the request can go nowhere.
        calls.finish(call, { jsonrpc: '2.0', id, error: refused });
        call.abandon(serverGone(server.id));
      }
    };
    // Who answered last, the server behind it then, and the task that has begun with it.
    let link: Link | undefined;
    let handshake: Link['handshake'];
    let begun: unknown;
    const next = (changed: Fields = params) =>
      new Promise<Fields>((resolve, reject) => {
        if (!calls.waits(call)) {
          reject(new ServerError(server.id, method, cancelledResponse(id, server.id).error));
          return;
        }
        const refused = refusal();
        if (refused !== undefined) {
          reject(new ServerError(server.id, method, refused));
          return;
        }
        isPassedOn = true;
        const asked = links.to(server);
        const see = this.#ofTask(method, changed);
        const onAnswer = (response: Response) => {
          open.delete(exchange);
          link = asked;
          handshake = asked.handshake;
          if ('result' in response) {
            // At once: a server of which nobody knows that it runs a task may be sent to rest.
            tasks.answered(asked, response.result);
            begun = taskIdOf(response.result);
          }
          see?.(response, asked, false);
          'result' in response ? resolve(response.result) : reject(new ServerError(server.id, method, response.error));
        };
        let linkId: RequestId | undefined;
        const exchange = {
          stop: (reason: Params | undefined) => linkId !== undefined && asked.cancel(linkId, reason),
          refuse: () => onAnswer(cancelledResponse(id, server.id)),
        };
        open.add(exchange);
        linkId = asked.request({ ...request, params: changed }, { callerId: id, refusal, onAnswer, onProgress });
      });
    try {
      const intercepted = { ...senderOf(extra, caller.current), server: server.id, method, params, signal };
      const result = await runInterceptor(intercept, intercepted, next);
      return { response: { jsonrpc: '2.0', id, result }, link, begun, hasEnded: link?.handshake !== handshake };
    } catch (error) {
      return { response: toResponse(id, server.id, error), link, begun, hasEnded: false };
    } finally {
      // Whatever it has not waited for is in vain.
      for (const { stop } of open) {
        stop({ reason: 'the answer is no longer needed' });
      }
      call.end();
    }
  }

  /** Looks at the result of a task as its server gave it: what an interceptor says of it is no news of the task. */
  #ofTask(method: string, { taskId }: Fields): OnAnswer | undefined {
    if (method !== 'tasks/result') {
      return undefined;
    }
    return (response, link) => {
      this.#options.tasks.resultAnswered(link, taskId as string, response);
      return response;
    };
  }
}

/** A call that no interceptor stands around: one object for all that waits for its answer. */
class PlainCall implements Call, Exchange {
  readonly id: RequestId;
  readonly callerId: RequestId;
  readonly progressToken: RequestId | undefined;
  readonly server: string;
  readonly onProgress: OnProgress | undefined;
  hasProgress = false;
  readonly #tool: CalledTool | undefined;
  readonly #link: Link;
  readonly #options: ForwarderOptions;
  readonly #onAnswer: OnAnswer | undefined;
  #linkId: RequestId | undefined;

  constructor(
    request: JSONRPCRequest,
    tool: CalledTool | undefined,
    link: Link,
    options: ForwarderOptions,
    onAnswer: OnAnswer | undefined,
  ) {
    this.id = request.id;
    this.callerId = request.id;
    this.progressToken = request.params?._meta?.progressToken;
    this.onProgress = progressOf(options.calls, this);
    this.server = link.server;
    this.#tool = tool;
    this.#link = link;
    this.#options = options;
    this.#onAnswer = onAnswer;
  }

  send(message: JSONRPCRequest, part: JsonPart | undefined): void {
    this.#linkId = this.#link.request(message, this, part);
  }

  refusal(): RpcError | undefined {
    return lateRefusal(this.#options.servers, this.server, this.#tool);
  }

  onAnswer(response: Response, part?: JsonPart): void {
    this.#options.calls.finish(this, translate(this.#options, this.server, response, this.#onAnswer, this.#link), part);
  }

  cancel(params: Params | undefined): void {
    if (this.#linkId !== undefined) {
      this.#link.cancel(this.#linkId, params);
    }
  }
}

/** Holds no more of a call than itself: its task may go on for long. */
function progressOf(calls: Calls, call: Call): OnProgress | undefined {
  return call.progressToken === undefined ? undefined : (progress) => calls.progress(call, progress);
}

/** @param intercepted - its tasks are known already */
function translate(
  { owners, tasks, elicitations }: ForwarderOptions,
  server: string,
  response: Response,
  onAnswer: OnAnswer | undefined,
  link: Link | undefined,
  intercepted?: Intercepted,
): Response {
  let translated: Response;
  if ('result' in response) {
    owners.see(server, response.result);
    const result = tasks.translate(server, response.result, intercepted === undefined ? link : undefined);
    translated = result === response.result ? response : { ...response, result };
  } else {
    const error = elicitations.translateError(server, response.error);
    translated = error === response.error ? response : { ...response, error };
  }
  return onAnswer === undefined ? translated : onAnswer(translated, link, intercepted?.hasEnded === true);
}

/** The task that a request has become. */
function taskIdOf({ task }: Fields): unknown {
  return (task as Fields | null | undefined)?.taskId;
}
