import type { JSONRPCMessage, MessageExtraInfo } from '../sdk.js';
import { lengthOf, partOf } from '../transport/json-part.js';

export interface EarlyMessage {
  readonly message: JSONRPCMessage;
  readonly extra: MessageExtraInfo | undefined;
}

const mostMessages = 1_000;
const mostLength = 1024 * 1024;

/** Messages that came before anybody took them, in order. Taken out one by one: what comes meanwhile lines up behind. */
export class EarlyMessages {
  readonly #waiting: EarlyMessage[] = [];
  #next = 0;
  #measured = 0;
  #length = 0;

  add(message: JSONRPCMessage, extra: MessageExtraInfo | undefined): void {
    this.#waiting.push({ message, extra });
  }

  take(): EarlyMessage | undefined {
    const next = this.#waiting[this.#next];
    this.#next += 1;
    return next;
  }

  /** Whether so much waits that its server should wait too: 1,000 messages, or 1 MiB of JSON. */
  isFull(): boolean {
    // Here and not in `add`: most wait for a moment alone, and nobody asks.
    for (; this.#measured < this.#waiting.length && this.#length < mostLength; this.#measured += 1) {
      this.#length += measure(this.#waiting[this.#measured] as EarlyMessage);
    }
    return this.#waiting.length >= mostMessages || this.#length >= mostLength;
  }
}

function measure({ message, extra }: EarlyMessage): number {
  const part = partOf(extra);
  if (part !== undefined) {
    return lengthOf(part.json);
  }
  try {
    return JSON.stringify(message).length;
  } catch {
    // What may be read from JSON may be too deep to be written as JSON.
    return Number.POSITIVE_INFINITY;
  }
}
