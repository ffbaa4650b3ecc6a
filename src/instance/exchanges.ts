import type { GatewayError } from '../errors.js';
import type { JSONRPCErrorResponse, JSONRPCMessage, JSONRPCRequest, JSONRPCResultResponse, RequestId } from '../sdk.js';
import type { JsonPart } from '../transport/json-part.js';
import { numberOf } from '../transport/json-rpc.js';
import type { Fields } from '../util/fields.js';
import { type ProgressListener, TaskProgress } from './task-progress.js';

export type Response = JSONRPCResultResponse | JSONRPCErrorResponse;
export type RpcError = JSONRPCErrorResponse['error'];

/** A request of the caller that waits for a server. */
export interface Exchange extends ProgressListener {
  /** A check of ours: it does not count as use. */
  readonly isProbe?: boolean;
  /** A stream of notifications that the caller listens to: they bear the id of the request. */
  readonly isStream?: boolean;
  /** Told in place of an answer, where the link ends with its server, that this one did not take the request. */
  readonly onRefused?: ((error: GatewayError) => void) | undefined;
  /** Why it must not go to its server after all: asked when it has waited for that, as a reload may have come meanwhile. */
  refusal?(): RpcError | undefined;
  /** The caller's id; undefined for what the endpoint asks on its own account. */
  readonly callerId?: RequestId | undefined;
  /** Gets the one answer, under the link's own id, and its result with the JSON of that where it is known. */
  onAnswer(response: Response, part?: JsonPart): void;
}

/** What waits for answers of one server, under ids and progress tokens that nobody else uses towards it. */
export class Exchanges {
  readonly #open = new Map<RequestId, Exchange>();
  readonly #tasks = new TaskProgress();
  // From 1: SDK v1 ignores a cancellation of request 0.
  #nextId = 1;

  /** @returns the id for the server */
  open(exchange: Exchange): RequestId {
    const id = this.#nextId++;
    this.#open.set(id, exchange);
    return id;
  }

  has(id: RequestId): boolean {
    return this.#open.has(id);
  }

  /** False when nobody waits for it any more. */
  forget(id: RequestId): boolean {
    return this.#open.delete(id);
  }

  get ids(): readonly RequestId[] {
    return [...this.#open.keys()];
  }

  /** Whether anything besides our own checks waits. */
  get isWorking(): boolean {
    for (const { isProbe } of this.#open.values()) {
      if (isProbe !== true) {
        return true;
      }
    }
    return false;
  }

  /** What waits for the answer to the request that the server knows under `id`. */
  get(id: RequestId): Exchange | undefined {
    return this.#open.get(id);
  }

  /** The caller's request that was sent last and is still open. */
  get latestCallerId(): RequestId | undefined {
    let latest: RequestId | undefined;
    for (const { callerId } of this.#open.values()) {
      latest = callerId ?? latest;
    }
    return latest;
  }

  /** Hands a response to whoever waits for it. @returns who that was */
  answer(response: Response, part?: JsonPart): Exchange | undefined {
    const id = response.id as RequestId;
    const exchange = this.#open.get(id);
    if (exchange !== undefined) {
      this.#open.delete(id);
      this.#tasks.see(response, exchange);
      exchange.onAnswer(response, part);
    }
    return exchange;
  }

  /** Hands progress to whoever waits for the request, or for the task that answered it. */
  progress(params: NonNullable<JSONRPCRequest['params']>): void {
    const given = params?.progressToken as RequestId;
    // All of ours are numbers, which a server may write as texts.
    const token = typeof given === 'string' ? numberOf(given) : given;
    const open = this.#open.get(token);
    (open === undefined ? this.#tasks.of(token) : open.onProgress)?.(params);
  }

  /** Looks at a notification: a task may end with it. */
  see(message: JSONRPCMessage): void {
    this.#tasks.see(message);
  }

  /** The server has ended, and its tasks with it. */
  forgetTasks(): void {
    this.#tasks.clear();
  }
}

/**
 * Gives the request an id of ours, which is the progress token too where the caller wants progress. Null is no token, and no
 * `_meta`: servers of the SDK leave a request without an answer that has it.
 */
export function setOwnIds(message: JSONRPCRequest, id: RequestId): void {
  message.id = id;
  const meta: Fields | null | undefined = message.params?._meta;
  const token = meta?.progressToken;
  if (meta === null || token !== undefined) {
    const progressToken = (token ?? undefined) === undefined ? undefined : id;
    message.params = { ...message.params, _meta: { ...meta, progressToken } };
  }
}
