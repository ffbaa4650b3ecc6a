import { type Response, ServerError } from '../instance/link.js';
import type { Caller } from '../runtime.js';
import type { JSONRPCRequest, MessageExtraInfo } from '../sdk.js';
import type { Call, Calls } from './calls.js';
import type { EndpointServer } from './endpoint-server.js';
import { cancelledResponse, type Interceptor, toResponse } from './intercept.js';
import type { ResourceOwners } from './resource-owners.js';
import type { ServerLinks } from './server-links.js';
import type { TaskOwners } from './tasks.js';

type Params = NonNullable<JSONRPCRequest['params']>;
type Fields = Readonly<Record<string, unknown>>;

export interface ForwarderOptions {
  readonly caller: Caller;
  readonly intercept: Interceptor | undefined;
  readonly calls: Calls;
  readonly links: ServerLinks;
  readonly owners: ResourceOwners;
  readonly tasks: TaskOwners;
}

/** Sends a caller's request to its server, by way of the interceptor, and the answer back. */
export class Forwarder {
  readonly #options: ForwarderOptions;

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  /**
   * @param params - as the server is to get them
   * @param onResult - looks at a result on its way back, and may change it
   */
  forward(
    request: JSONRPCRequest,
    server: EndpointServer,
    params: Params,
    extra: MessageExtraInfo | undefined,
    onResult?: (result: Fields) => Fields,
  ): void {
    const { intercept, calls } = this.#options;
    const call = calls.open(request, server.id);
    const finish = (response: Response) => calls.finish(call, this.#translate(server.id, response, onResult));
    if (intercept === undefined) {
      this.#exchange(call, request, server, params, finish);
    } else {
      void this.#intercepted(intercept, call, request, server, params, extra).then(finish);
    }
  }

  async #intercepted(
    intercept: Interceptor,
    call: Call,
    request: JSONRPCRequest,
    server: EndpointServer,
    params: Params,
    extra: MessageExtraInfo | undefined,
  ): Promise<Response> {
    const { caller } = this.#options;
    const { id, method } = request;
    const exchanges: (() => void)[] = [];
    const next = (changed: Fields = params) =>
      new Promise<Fields>((resolve, reject) => {
        if (!this.#options.calls.waits(call)) {
          reject(new ServerError(server.id, method, cancelledResponse(id, server.id).error));
          return;
        }
        const stop = this.#exchange(call, request, server, changed as Params, (response) =>
          'result' in response ? resolve(response.result) : reject(new ServerError(server.id, method, response.error)),
        );
        exchanges.push(stop);
      });
    try {
      const authInfo = extra?.authInfo ?? caller.authInfo;
      const result = await intercept({ caller, authInfo, server: server.id, method, params }, next);
      return { jsonrpc: '2.0', id, result: result as Record<string, unknown> };
    } catch (error) {
      return toResponse(id, server.id, error);
    } finally {
      // Whatever it has not waited for is in vain.
      for (const stop of exchanges) {
        stop();
      }
    }
  }

  /** @returns tells the server, unless it has answered, that nobody waits any more */
  #exchange(
    call: Call,
    request: JSONRPCRequest,
    server: EndpointServer,
    params: Params,
    onAnswer: (response: Response) => void,
  ): () => void {
    const { links, calls } = this.#options;
    const link = links.to(server);
    const id = link.request(
      { ...request, params },
      { callerId: call.id, onAnswer, onProgress: (progress) => calls.progress(call, progress) },
    );
    call.cancel = (reason) => {
      link.cancel(id, reason);
      // An interceptor that waits for the answer must come to its end.
      onAnswer(cancelledResponse(call.id, server.id));
    };
    return () => link.cancel(id, { reason: 'the answer is no longer needed' });
  }

  #translate(server: string, response: Response, onResult: ((result: Fields) => Fields) | undefined): Response {
    if (!('result' in response)) {
      return response;
    }
    const { owners, tasks } = this.#options;
    owners.see(server, response.result);
    const translated = tasks.translate(server, response.result);
    const result = onResult === undefined ? translated : onResult(translated);
    return result === response.result ? response : { ...response, result };
  }
}
