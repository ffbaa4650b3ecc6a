import type { LinkTransport } from '../instance/link-transport.js';
import type { LinkWatchSettings } from '../instance/link-watch.js';
import type { Caller, RuntimeProgress } from '../runtime.js';
import type { ToolFilter } from './glob.js';

/** One server of the merged peer. */
export interface EndpointServer {
  readonly id: string;
  /** The same for as long as a reload of the catalog replaces no server of it. */
  readonly entry: object;
  /** Whether each request gets an instance of its own. */
  readonly isPerRequest: boolean;
  /** Whether a reload that has replaced the entry lets its running servers go on until they end. */
  isKept(): boolean;
  readonly displayName: string;
  readonly fingerprint: string;
  readonly listTimeoutMs: number;
  /** Undefined where callers share what has a time-out of its own. */
  readonly startTimeoutMs: number | undefined;
  /** Undefined where callers share what watches over itself. */
  readonly watch: LinkWatchSettings | undefined;
  /** How often it was stopped: who stops it wants nothing to go on that was begun before. */
  readonly timesStopped: number;
  /** Aborted by the next stop of it. */
  readonly untilStopped: AbortSignal;
  readonly restart: { readonly max: number; readonly backoffMs: number; readonly maxBackoffMs: number };
  readonly tools: ToolFilter;
  /** For whom a snapshot of its lists is good; undefined: for nobody but the caller of this one connection. */
  snapshotOwner(caller: Caller): string | undefined;
  /** Whether an instance for this caller runs already, as another connection of those who share it has started it. */
  isRunning(caller: Caller): boolean;
  /** A transport to an instance for this caller. */
  connect(caller: Caller, onProgress: (progress: RuntimeProgress) => void): LinkTransport;
}
