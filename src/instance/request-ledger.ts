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
  readonly timeoutMs: number;
  deadline: number;
  extensions: number;
}

/** How often progress may restart a request's time-out. */
export const maxExtensions = 10;
/** Of revision 2026-07-28: its answer comes when the server ends the stream. */
const streamMethod = 'subscriptions/listen';
/** By which a session begins. */
const handshakes: ReadonlySet<string> = new Set(['initialize', 'server/discover']);

/**
 * The requests that wait for an answer on one connection. Knows for each message whether anybody still waits for it, and
 * tells which requests are overdue.
 */
export class RequestLedger {
  readonly #timeoutMs: number;
  readonly #handshakeMs: number;
  readonly #clock: Clock;
  readonly #onOverdue: (request: OpenRequest) => void;
  readonly #open = new Map<RequestId, OpenRequest>();
  #tokens: Map<RequestId, OpenRequest> | undefined;
  // Streams that stay open for as long as somebody listens: no time-out, and nobody waits for their end.
  #streams: Map<RequestId, OpenRequest> | undefined;
  #timer: unknown;
  #wakesAt = Number.POSITIVE_INFINITY;

  /** @param handshakeMs - how long a server may take for the request that begins a session */
  constructor(timeoutMs: number, handshakeMs: number, clock: Clock, onOverdue: (request: OpenRequest) => void) {
    this.#timeoutMs = timeoutMs;
    this.#handshakeMs = handshakeMs;
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
    const timeoutMs = handshakes.has(request.method) ? this.#handshakeMs : this.#timeoutMs;
    const open: OpenRequest = {
      id: request.id,
      method: request.method,
      progressToken,
      delivered: false,
      timeoutMs,
      deadline: this.#clock.now() + timeoutMs,
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
    this.#wakeAt(open.deadline);
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

  /** Takes out this very request; false when nobody waits for it any more, though perhaps for another one of its id. */
  drop(open: OpenRequest): boolean {
    const { id } = open;
    return (this.#open.get(id) ?? this.#streams?.get(id)) === open && this.take(id) !== undefined;
  }

  /** Takes out the request that an answer of this id is for; undefined when nobody waits for it any more. */
  takeAnswered(id: RequestId): OpenRequest | undefined {
    return this.take(id) ?? (typeof id === 'string' ? this.take(numberOf(id)) : undefined);
  }

  /** The server has ended a stream without an answer. */
  endStream(id: unknown): void {
    const stream = findNamed(this.#streams, id);
    stream && this.#streams?.delete(stream.id);
  }

  /** Takes all requests out, oldest first. */
  takeAll(): OpenRequest[] {
    const all = [...this.#open.values(), ...(this.#streams?.values() ?? [])];
    this.#open.clear();
    this.#streams = undefined;
    this.#tokens = undefined;
    this.#clock.clearTimeout(this.#timer);
    this.#wakesAt = Number.POSITIVE_INFINITY;
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
    open.deadline = this.#clock.now() + open.timeoutMs;
  }

  // One timer for all: it wakes for the request that was to end first when it was set, and is then set anew.
  #wakeAt(time: number): void {
    if (time < this.#wakesAt) {
      this.#clock.clearTimeout(this.#timer);
      this.#wakesAt = time;
      this.#timer = this.#clock.setTimeout(() => this.#expire(), Math.max(0, time - this.#clock.now()));
    }
  }

  #expire(): void {
    this.#wakesAt = Number.POSITIVE_INFINITY;
    const now = this.#clock.now();
    for (const open of this.#open.values()) {
      if (open.deadline <= now) {
        this.take(open.id);
        this.#onOverdue(open);
      }
    }
    for (const { deadline } of this.#open.values()) {
      this.#wakeAt(deadline);
    }
  }
}
