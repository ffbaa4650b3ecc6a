import { GatewayError } from '../../errors.js';
import { settledWithin } from '../../util/abort.js';
import { answerInvalid } from './answer-error.js';
import { Exchange } from './exchange.js';
import type { WireOptions } from './wire.js';

/** How long a server may take to end a session, and to take what was sent just before. */
export const farewellMs = 2_000;

/** What revisions up to 2025-11-25 keep between requests over Streamable HTTP: the id of the session, and the revision. */
export class StreamableSession {
  readonly #options: WireOptions;
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

  /** The server no longer knows it. Returns the error for the request that found out, which is told first. */
  lost(cause: GatewayError): GatewayError {
    const { server, onLost } = this.#options;
    const message = 'the server no longer knows the session: it was restarted, or the session expired; connect again';
    const exit = { reason: 'session-lost', stderrTail: '' };
    const details = { server, cause, status: cause.status, exit };
    setImmediate(() => {
      this.#id = undefined;
      onLost(new GatewayError('SESSION_LOST', message, { ...details, delivered: 'unknown' }));
    });
    return new GatewayError('SESSION_LOST', message, { ...details, delivered: false });
  }

  /** Tells the server that it is over. That may refuse, be it for want of access, or be gone: then there is nothing to tell. */
  async end(): Promise<void> {
    if (this.#id === undefined) return;
    const { url, clock, leftovers } = this.#options;
    const exchange = new Exchange(this.#options, {
      url,
      method: 'DELETE',
      step: 'DELETE (end of the session)',
      onNoAccess: 'nothing',
      headers: this.headers(),
      headersTimeoutMs: farewellMs,
    });
    const gone = exchange.answer.then(
      (answer) => leftovers.discard(answer),
      () => {},
    );
    await settledWithin(gone, farewellMs, clock);
    exchange.abort();
  }
}
