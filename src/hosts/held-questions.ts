import type { Clock } from '../options.js';
import type { JSONRPCErrorResponse, RequestId } from '../sdk.js';

/** How long a client may take to open a stream: it does so just after `initialized`, and again when one has broken. */
const patienceMs = 5_000;
const mostHeld = 100;
const mostHeldLength = 16 * 1024 * 1024;

interface Held {
  readonly length: number;
  readonly ask: () => void;
  readonly timer: unknown;
}

/**
 * What is asked of a client that has no stream open on which it would hear of it: asked once there is one, and answered with
 * an error when none opens.
 */
export class HeldQuestions {
  readonly #clock: Clock;
  readonly #answer: (answer: JSONRPCErrorResponse) => void;
  readonly #held = new Map<RequestId, Held>();
  #length = 0;

  constructor(clock: Clock, answer: (answer: JSONRPCErrorResponse) => void) {
    this.#clock = clock;
    this.#answer = answer;
  }

  /** @param length - of its JSON */
  add(id: RequestId, length: number, ask: () => void): void {
    if (this.#held.size >= mostHeld || this.#length + length > mostHeldLength) {
      // Whoever asks is not in the middle of it any more.
      queueMicrotask(() => this.#refuse(id));
      return;
    }
    const timer = this.#clock.setTimeout(() => {
      this.#take(id);
      this.#refuse(id);
    }, patienceMs);
    this.#held.set(id, { length, ask, timer });
    this.#length += length;
  }

  /** Nobody waits for the answer any more. @returns whether the client has not been asked */
  withdraw(id: RequestId): boolean {
    return this.#take(id) !== undefined;
  }

  /** The client has a stream: asks everything, in order. */
  release(): void {
    for (const id of [...this.#held.keys()]) {
      this.#take(id)?.ask();
    }
  }

  clear(): void {
    for (const id of [...this.#held.keys()]) {
      this.#take(id);
    }
  }

  #take(id: RequestId): Held | undefined {
    const held = this.#held.get(id);
    if (held !== undefined) {
      this.#held.delete(id);
      this.#length -= held.length;
      this.#clock.clearTimeout(held.timer);
    }
    return held;
  }

  #refuse(id: RequestId): void {
    const error = { code: -32603, message: 'the client has no stream open on which it could be asked' };
    this.#answer({ jsonrpc: '2.0', id, error });
  }
}
