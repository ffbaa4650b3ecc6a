import type { ExitInfo, GatewayErrorCode } from '../errors.js';
import type { Phase } from '../events.js';
import type { RuntimeProgress } from '../runtime.js';
import type { Instance } from './instance.js';

/** One running server, as `status()` shows it. */
export interface InstanceStatus {
  /** Unique among the instances of the gateway; events name it too. */
  readonly id: string;
  readonly phase: Phase;
  /** When it entered its phase, in milliseconds since the epoch. */
  readonly since: number;
  /** How long the start took, in milliseconds; undefined before it is done. */
  readonly startDurationMs: number | undefined;
  /** How far a pull or start has come. */
  readonly progress: RuntimeProgress | undefined;
  /** The operating system's id, for a server that is a process of this machine. */
  readonly pid: number | undefined;
  /** Requests that wait for an answer. */
  readonly inFlight: number;
}

/** A catalog entry, as `status()` shows it: also one that was never used. */
export interface ServerStatus {
  /** Of the catalog entry. */
  readonly id: string;
  /** `display_name` of the entry; its id by default. */
  readonly displayName: string;
  /** The runtime's. */
  readonly type: string;
  readonly enabled: boolean;
  /** The phase of its liveliest instance; without one, `failed` or `crash-loop` after failures, and else `idle`. */
  readonly phase: Phase;
  /** When that phase was entered, in milliseconds since the epoch. */
  readonly since: number;
  /** Requests that wait for an answer, over all instances. */
  readonly inFlight: number;
  /** How often a start followed a failure, since the gateway was made or a reload has changed the entry. */
  readonly restarts: number;
  /** Whether an instance runs whose definition is no longer the catalog's. */
  readonly stale: boolean;
  /** How the last instance that ended by itself ended. */
  readonly lastExit: ExitInfo | undefined;
  /** The last failure of a start or of a running server. */
  readonly lastError: { readonly code: GatewayErrorCode; readonly message: string } | undefined;
  /** Those that run, start or stop, the oldest first. */
  readonly instances: readonly InstanceStatus[];
}

export function toInstanceStatus(instance: Instance): InstanceStatus {
  return {
    id: instance.id,
    phase: instance.phase,
    since: instance.since,
    startDurationMs: instance.startDurationMs,
    progress: instance.progress,
    pid: instance.pid ?? undefined,
    inFlight: instance.user?.inFlight ?? 0,
  };
}
