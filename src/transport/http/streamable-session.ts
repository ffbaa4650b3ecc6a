import { GatewayError } from '../../errors.js';
import { settledWithin } from '../../util/abort.js';
import { setImmediate } from '../../util/immediate.js';
import { answerInvalid } from './answer-error.js';
import { Exchange } from './exchange.js';
import type { WireOptions } from './wire.js';

/** How long a server may take to end a session, and to say of what was sent just before whether it takes it. */
export const farewellMs = 2_000;

/** What revisions up to 2025-11-25 keep between requests over Streamable HTTP: the id of the session, and the revision. */
export class StreamableSession {
  readonly #options: WireOptions;
  #loss: GatewayError | undefined;
  #id: string | undefined;
  /** The revision that was agreed on. */
  protocolVersion: string | undefined;

  constructor(options: WireOptions) {
    this.#options = options;
  }

  get id(): string | undefined {
    return this.#id;
  }

  /** What goes with each request of the session. */
  headers(): Record<string, string> {
    return {
      ...(this.#id !== undefined && { 'mcp-session-id': this.#id }),
      ...(this.protocolVersion !== undefined && { 'mcp-protocol-version': this.protocolVersion }),
    };
  }

  /** Takes the id that came with the answer to initialize, if one did. */
  begin(id: string | undefined): void {
    const { server, onTrouble } = this.#options;
    // Visible ASCII alone, as the specification has it: it goes back in a header.
    if (id === undefined) return;
    if (/^[\x21-\x7e]{1,1024}$/.test(id)) this.#id = id;
    else onTrouble(answerInvalid(server, 'the server gave a session id that no header may hold; it is not used'));
  }

  /** Once the server no longer knows it: the error for whatever comes after. */
  get loss(): GatewayError | undefined {
    return this.#loss;
  }

  /**
   * The server no longer knows it, which is told once. Returns the error for the request that found out, which is told first.
   *
   * @param others - settles when those that were sent beside it have found out too
   */
  lost(cause: GatewayError, others: Promise<unknown>): GatewayError {
    const { server, onLost } = this.#options;
    const message = 'the server no longer knows the session: it was restarted, or the session expired; connect again';
    const exit = { reason: 'session-lost', stderrTail: '' };
    const details = { server, cause, status: cause.status, exit };
    const tell = () => onLost(new GatewayError('SESSION_LOST', message, { ...details, delivered: 'unknown' }));
    void others.then(() => setImmediate(tell));
    this.#loss = new GatewayError('SESSION_LOST', message, { ...details, delivered: false });
    return this.#loss;
  }

  /** Tells the server that it is over. That may refuse, be it for want of access, or be gone: then there is nothing to tell. */
  async end(): Promise<void> {
    if (this.#id === undefined || this.#loss !== undefined) return;
    const { url, clock, leftovers } = this.#options;
    const ask = () =>
      new Exchange(this.#options, {
        url,
        method: 'DELETE',
        step: 'DELETE (end of the session)',
        onNoAccess: 'nothing',
        headers: this.headers(),
        headersTimeoutMs: farewellMs,
      });
    let exchange = ask();
    const gone = exchange.answer
      .catch((error: GatewayError) => {
        // The server may have closed an idle connection in that moment, and a session can be ended twice.
        if (exchange.aborted || error.code !== 'CONNECTION_FAILED') throw error;
        exchange = ask();
        return exchange.answer;
      })
      .then(
        (answer) => leftovers.discard(answer),
        () => {},
      );
    await settledWithin(gone, farewellMs, clock);
    exchange.abort();
  }
}
