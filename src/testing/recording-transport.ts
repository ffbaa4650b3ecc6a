import { AssertionError } from 'node:assert';
import { isDeepStrictEqual } from 'node:util';
import { isRequest, isResponse, type JSONRPCMessage, type Transport, type TransportSendOptions } from '../sdk.js';
import { Waiters } from './guard.js';

/** A message that passed a {@link RecordingTransport}. */
export interface RecordedMessage {
  /** Which way it went, as the client sees it. */
  readonly direction: 'sent' | 'received';
  /** As it passed. */
  readonly message: JSONRPCMessage;
}

/** Part of a message: whatever is in it must be in the message too, at the same place. Arrays are compared whole. */
export type MessagePattern = Readonly<Record<string, unknown>>;

/** Settings of {@link RecordingTransport}. */
export interface RecordingOptions {
  /**
   * How long `received` and `sent` wait before they fail, in milliseconds: a guard against hanging.
   *
   * @default 10_000
   */
  readonly guardMs?: number | undefined;
}

const shownCharacters = 200;

/**
 * A transport around another one that keeps everything that passes, in order. An SDK client connects to it as to any
 * other; a test asks it what went over the line, and a failed expectation shows the whole conversation.
 */
export class RecordingTransport implements Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: NonNullable<Transport['onmessage']>;
  /** Everything that passed, in order. */
  readonly messages: RecordedMessage[] = [];
  /** What came through `onerror`. */
  readonly errors: Error[] = [];
  /** How often `onclose` fired. */
  closes = 0;
  readonly #inner: Transport;
  readonly #waiters: Waiters;

  constructor(inner: Transport, options: RecordingOptions = {}) {
    this.#inner = inner;
    this.#waiters = new Waiters(options.guardMs ?? 10_000);
    inner.onmessage = (message, extra) => {
      this.#keep('received', message);
      this.onmessage?.(message, extra);
    };
    inner.onerror = (error) => {
      this.errors.push(error);
      this.onerror?.(error);
    };
    inner.onclose = () => {
      this.closes += 1;
      this.#waiters.wake();
      this.onclose?.();
    };
  }

  get sessionId(): string | undefined {
    return this.#inner.sessionId;
  }

  readonly setProtocolVersion = (version: string): void => this.#inner.setProtocolVersion?.(version);

  start(): Promise<void> {
    return this.#inner.start();
  }

  send(message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    this.#keep('sent', message);
    return this.#inner.send(message, options);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  /**
   * The nth message that was received and matches, counted from 0; waits for it.
   *
   * @throws AssertionError when the transport closes first, or `guardMs` has passed; it shows what was received
   */
  received(pattern: MessagePattern, index = 0): Promise<JSONRPCMessage> {
    return this.#find('received', pattern, index);
  }

  /** The nth message that was sent and matches, under the same terms. */
  sent(pattern: MessagePattern, index = 0): Promise<JSONRPCMessage> {
    return this.#find('sent', pattern, index);
  }

  /** @throws AssertionError when a message that matches was received so far */
  notReceived(pattern: MessagePattern): void {
    if (this.#matching('received', pattern).length > 0) {
      throw new AssertionError({
        message: `received what should not come: ${JSON.stringify(pattern)}\n${this.transcript()}`,
        stackStartFn: this.notReceived,
      });
    }
  }

  /** @throws AssertionError unless each request that was sent has exactly one answer */
  answeredOnce(): void {
    const sent = this.messages.filter(({ direction }) => direction === 'sent').map(({ message }) => message);
    for (const request of sent.filter(isRequest)) {
      const answers = this.messages.filter(
        ({ direction, message }) => direction === 'received' && isResponse(message) && message.id === request.id,
      );
      if (answers.length !== 1) {
        const subject = `${request.method} with id ${JSON.stringify(request.id)}`;
        throw new AssertionError({
          message: `${subject} has ${answers.length} answers, not one\n${this.transcript()}`,
          stackStartFn: this.answeredOnce,
        });
      }
    }
  }

  /** The conversation so far, a line for each message: `→` was sent, `←` was received. */
  transcript(): string {
    const lines = this.messages.map(({ direction, message }) => {
      const text = JSON.stringify(message);
      const shown = text.length > shownCharacters ? `${text.slice(0, shownCharacters)}… (${text.length})` : text;
      return `${direction === 'sent' ? '→' : '←'} ${shown}`;
    });
    const ends = this.closes > 0 ? ['closed'] : [];
    const errors = this.errors.map(({ message }) => `error: ${message}`);
    return [...lines, ...errors, ...ends].join('\n') || 'nothing was sent or received';
  }

  #keep(direction: RecordedMessage['direction'], message: JSONRPCMessage): void {
    this.messages.push({ direction, message });
    this.#waiters.wake();
  }

  #matching(direction: RecordedMessage['direction'], pattern: MessagePattern): JSONRPCMessage[] {
    return this.messages
      .filter((one) => one.direction === direction && holds(one.message, pattern))
      .map(({ message }) => message);
  }

  async #find(
    direction: RecordedMessage['direction'],
    pattern: MessagePattern,
    index: number,
  ): Promise<JSONRPCMessage> {
    const nth = index === 0 ? '' : ` (number ${index + 1} of them)`;
    const what = `no message was ${direction} like ${JSON.stringify(pattern)}${nth}`;
    try {
      return await this.#waiters.until(what, () => {
        const found = this.#matching(direction, pattern)[index];
        if (found === undefined && this.closes > 0) {
          throw new AssertionError({ message: `${what}, and the transport is closed` });
        }
        return found;
      });
    } catch (error) {
      throw new AssertionError({ message: `${(error as Error).message}\n${this.transcript()}` });
    }
  }
}

function holds(value: unknown, pattern: unknown): boolean {
  if (typeof pattern !== 'object' || pattern === null || Array.isArray(pattern)) {
    return isDeepStrictEqual(value, pattern);
  }
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.entries(pattern).every(([key, part]) => holds((value as Record<string, unknown>)[key], part))
  );
}
