import { GatewayError } from '../../errors.js';
import type { LinkTransport } from '../../instance/link-transport.js';
import type { Peer } from '../peer.js';

/** How the connections of one caller to one server are made. */
export interface FirstConnection {
  readonly server: string;
  /** For the answer to `initialize`; undefined where callers share what has a time-out of its own. */
  readonly startTimeoutMs: number | undefined;
  /** Whether the first one is started before anybody has said anything on it. */
  readonly startsAhead: boolean;
  connect(): LinkTransport;
}

/** Starts the first connection of a transport with that transport, and keeps it for the session that comes first. */
export class StartedAhead {
  readonly #options: FirstConnection;
  readonly #onEnd: (reason: GatewayError) => void;
  #first: LinkTransport | undefined;

  /** @param onEnd - its server has ended before there was a session */
  constructor(options: FirstConnection, onEnd: (reason: GatewayError) => void) {
    this.#options = options;
    this.#onEnd = onEnd;
  }

  /** @throws `GatewayError` of a start that failed */
  async start(): Promise<void> {
    const { server, startsAhead, connect } = this.#options;
    if (!startsAhead) {
      return;
    }
    const first = connect();
    this.#first = first;
    let reason: GatewayError | undefined;
    let hasStarted = false;
    first.onerror = (error) => {
      reason = GatewayError.is(error) && error.code !== 'MESSAGE_INVALID' ? error : reason;
    };
    first.onclose = () => {
      const text = 'the server ended before it was asked for anything';
      hasStarted && this.#onEnd(reason ?? new GatewayError('SERVER_EXITED', text, { server, delivered: false }));
    };
    await first.start();
    hasStarted = true;
  }

  /** The connection for a session. */
  take(): LinkTransport {
    const first = this.#first ?? this.#options.connect();
    this.#first = undefined;
    return first;
  }

  /** The same peer, which closes with it what no session has taken. */
  closeWith(peer: Peer): Peer {
    const close = async () => {
      await Promise.all([peer.close(), this.#first?.close()]);
    };
    return { receive: (...message) => peer.receive(...message), failAll: (reason) => peer.failAll(reason), close };
  }
}
