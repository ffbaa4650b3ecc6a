import type { Connections } from '../../transport/http/connections.js';
import type { Dial } from '../../transport/http/dial.js';
import type { Guest, Target } from './target.js';

/** A way to a service, which knows the places that serve it: shared by the sessions of an entry. */
export interface Link {
  /** The number of the port at the service. */
  readonly port: number;
  /**
   * Where a new session may go, with `place` there already, so that those who come at the same time go elsewhere. Waits
   * while nothing is ready.
   *
   * @param tried - what could not be connected to; undefined when there is nothing else
   * @throws `GatewayError` `START_FAILED` when nothing becomes ready; `signal.reason` once aborted
   */
  take(tried: ReadonlySet<Target>, place: Guest, signal: AbortSignal): Promise<Target | undefined>;
  /** Where a request without a session may go at once. */
  choose(): Target | undefined;
  /** Ends everything, sessions too. */
  close(): Promise<void>;
}

/** What every way needs. */
export interface LinkOptions {
  readonly server: string;
  readonly toConnections: (dial: Dial) => Connections;
  readonly random: () => number;
}
