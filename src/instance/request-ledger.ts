import type { Clock } from '../options.js';
import type { JSONRPCRequest, RequestId } from '../sdk.js';
import { findNamed, numberOf } from '../transport/json-rpc.js';

/** A request that waits for its answer. */
export interface OpenRequest {
  readonly id: RequestId;
  readonly method: string;
  readonly progressToken: RequestId | undefined;
  /** True once the transport has handed the message over. */
  delivered: boolean;
  deadline: number;
  extensions: number;
}

/** How often progress may restart a request's time-out. */
export const maxExtensions = 10;
/** Of revision 2026-07-28: its answer comes when the server ends the stream. */
const streamMethod = 'subscriptions/listen';

/**
 * The requests that wait for an answer on one connection. Knows for each message whether anybody still waits for it, and
 * tells which requests are overdue.
 */
export class RequestLedger {
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  readonly #onOverdue: (request: OpenRequest) => void;
  // In the order of their deadlines: all have the same time-out, and who gets a new deadline moves to the end.
  readonly #open = new Map<RequestId, OpenRequest>();
  #tokens: Map<RequestId, OpenRequest> | undefined;
  // Streams that stay open for as long as somebody listens: no time-out, and nobody waits for their end.
  #streams: Map<RequestId, OpenRequest> | undefined;
  #timer: unknown;

  constructor(timeoutMs: number, clock: Clock, onOverdue: (request: OpenRequest) => void) {
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
    this.#onOverdue = onOverdue;
  }

  /** How many wait for an answer; what merely listens is not counted. */
  get size(): number {
    return this.#open.size;
  }

  has(id: RequestId): boolean {
    return this.#open.has(id) || this.#streams?.has(id) === true;
  }

  add(request: JSONRPCRequest): OpenRequest {
    const progressToken = request.params?._meta?.progressToken;
    const open: OpenRequest = {
      id: request.id,
      method: request.method,
      progressToken,
      delivered: false,
      deadline: this.#clock.now() + this.#timeoutMs,
      extensions: 0,
    };
    if (open.method === streamMethod) {
      this.#streams ??= new Map();
      this.#streams.set(open.id, open);
      return open;
    }
    this.#open.set(open.id, open);
    if (progressToken !== undefined) {
      this.#tokens ??= new Map();
      this.#tokens.set(progressToken, open);
    }
    this.#arm();
    return open;
  }

  /** Takes a request out; undefined when nobody waits for it any more. */
  take(id: RequestId): OpenRequest | undefined {
    const open = this.#open.get(id);
    if (open === undefined) {
      const stream = this.#streams?.get(id);
      this.#streams?.delete(id);
      return stream;
    }
    this.#open.delete(id);
    if (open.progressToken !== undefined && this.#tokens?.get(open.progressToken) === open) {
      this.#tokens.delete(open.progressToken);
    }
    return open;
  }

  /** Takes out the request that an answer of this id is for; undefined when nobody waits for it any more. */
  takeAnswered(id: RequestId): OpenRequest | undefined {
    return this.take(id) ?? (typeof id === 'string' ? this.take(numberOf(id)) : undefined);
  }

  /** Takes all requests out, oldest first. */
  takeAll(): OpenRequest[] {
    const all = [...this.#open.values(), ...(this.#streams?.values() ?? [])];
    this.#open.clear();
    this.#streams = undefined;
    this.#tokens = undefined;
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    return all;
  }

  /** The time-out starts anew: until now the request waited for its server to read. */
  delivered(open: OpenRequest): void {
    open.delivered = true;
    if (this.#open.get(open.id) === open) {
      this.#restart(open);
    }
  }

  /** Gives the request of a progress token more time, a bounded number of times. */
  extend(progressToken: unknown): void {
    const open = findNamed(this.#tokens, progressToken);
    if (open !== undefined && open.extensions < maxExtensions) {
      open.extensions += 1;
      this.#restart(open);
    }
  }

  #restart(open: OpenRequest): void {
    open.deadline = this.#clock.now() + this.#timeoutMs;
    this.#open.delete(open.id);
    this.#open.set(open.id, open);
  }

  // One timer for all: it wakes for the request that stood first when it was set, and is then set anew.
  #arm(): void {
    if (this.#timer !== undefined) {
      return;
    }
    const first = this.#open.values().next().value;
    if (first !== undefined) {
      this.#timer = this.#clock.setTimeout(() => this.#expire(), Math.max(0, first.deadline - this.#clock.now()));
    }
  }

  #expire(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    for (const open of this.#open.values()) {
      if (open.deadline > now) {
        break;
      }
      this.take(open.id);
      this.#onOverdue(open);
    }
    this.#arm();
  }
}
