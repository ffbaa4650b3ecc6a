import type { EraConnection } from '../../src/instance/era/era-transport.js';
import type { JSONRPCMessage } from '../../src/sdk.js';

export type Message = {
  readonly id?: string | number;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown };
};

/** What a request is answered with: a result, an error, or nothing for now. */
export type Play = Readonly<Record<string, (request: Message) => Pick<Message, 'result' | 'error'> | undefined>>;

/** A connection to a server, below a link or an era: the test plays the server. */
export class PlayedConnection implements EraConnection {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: ((message: JSONRPCMessage, extra?: object) => void) | undefined;
  readonly received: Message[] = [];
  closes = 0;
  onstart: () => Promise<void> = async () => {};
  /** Runs before a message counts as sent. */
  onsend: (message: Message) => Promise<void> = async () => {};
  readonly #play: Play;

  constructor(play: Play = {}) {
    this.#play = play;
  }

  start(): Promise<void> {
    return this.onstart();
  }

  async send(message: JSONRPCMessage): Promise<void> {
    // As it was sent: those above may change it later.
    const copy = structuredClone(message) as Message;
    this.received.push(copy);
    await this.onsend(copy);
    if (copy.method !== undefined && copy.id !== undefined) {
      const answer = this.#play[copy.method]?.(copy);
      answer && this.say({ id: copy.id, ...answer });
    }
  }

  async close(): Promise<void> {
    this.closes += 1;
    if (this.closes === 1) this.onclose?.();
  }

  /** The server says something. */
  say(message: Message, extra?: object): void {
    this.onmessage?.({ jsonrpc: '2.0', ...message } as JSONRPCMessage, extra);
  }

  /** What it got of a method. */
  of(method: string): Message[] {
    return this.received.filter((message) => message.method === method);
  }
}
