import type { GatewayError } from '../errors.js';
import type { JSONRPCRequest, RequestId } from '../sdk.js';
import { serverGone } from './late-refusal.js';

type Params = NonNullable<JSONRPCRequest['params']>;

/** A request of the caller that waits for its answer. */
export interface Call {
  readonly id: RequestId;
  readonly progressToken: RequestId | undefined;
  /** The id of the server that it is for, once that is known. */
  readonly server: string | undefined;
  /** Its server tells how far it is. */
  hasProgress?: boolean;
  /** Tells the server that the caller no longer waits. */
  cancel(params: Params | undefined): void;
  /** Nobody waits for what its interceptors make of it any more. */
  abandon?(reason: GatewayError): void;
  /** The catalog is another one now. @param servers - by id */
  reloaded?(servers: ReadonlyMap<string, unknown>): void;
}

const nothing = () => {};

/** A request of the caller that interceptors work on, or may have to. */
export class OpenCall implements Call {
  readonly id: RequestId;
  readonly progressToken: RequestId | undefined;
  readonly server: string | undefined;
  cancel: Call['cancel'] = nothing;
  /** What a reload means for it, where that is more than for what interceptors make of lists. */
  onReload: (() => void) | undefined;
  /** The interceptors at work on it, with the servers that they stand before. */
  readonly #runs = new Map<AbortController, string>();

  constructor(request: JSONRPCRequest, server: string | undefined) {
    this.id = request.id;
    this.progressToken = request.params?._meta?.progressToken;
    this.server = server;
  }

  /** An interceptor begins: whoever waits for what it makes of a request to a server may abort it. */
  begin(server: string): AbortController {
    const run = new AbortController();
    this.#runs.set(run, server);
    return run;
  }

  /** An interceptor has come to its end, and is told of nothing any more. */
  done(run: AbortController): void {
    this.#runs.delete(run);
  }

  /** Lets go of what was asked for it, which those who hear of the progress of its task must not hold. */
  end(): void {
    this.#runs.clear();
    this.cancel = nothing;
    this.onReload = undefined;
  }

  abandon(reason: GatewayError): void {
    for (const run of this.#runs.keys()) {
      run.abort(reason);
    }
  }

  reloaded(servers: ReadonlyMap<string, unknown>): void {
    if (this.onReload !== undefined) {
      this.onReload();
      return;
    }
    for (const [run, server] of this.#runs) {
      servers.has(server) || run.abort(serverGone(server));
    }
  }
}
