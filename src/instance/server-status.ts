import type { ExitInfo, GatewayError, GatewayErrorCode } from '../errors.js';
import type { Phase } from '../events.js';
import type { RuntimeProgress } from '../runtime.js';
import type { Instance } from './instance.js';
import type { InstanceDefinition } from './open-transport.js';
import type { RestartPolicy } from './restart-policy.js';

/** One running server, as `status()` shows it. */
export interface InstanceStatus {
  /** Unique among the instances of the gateway; events name it too. */
  readonly id: string;
  /** What it is doing. */
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
  /** `enabled` of the entry: what is disabled is in no list and cannot be started. */
  readonly enabled: boolean;
  /** The phase of its liveliest instance; without one, `failed` or `crash-loop` after failures, and else `idle`. */
  readonly phase: Phase;
  /** When that phase was entered, in milliseconds since the epoch. */
  readonly since: number;
  /** Requests that wait for an answer, over all instances. */
  readonly inFlight: number;
  /** How often a start followed a failure, since the gateway was made or a reload has changed what is started. */
  readonly restarts: number;
  /** Whether an instance runs whose definition is no longer the catalog's. */
  readonly stale: boolean;
  /** How the last instance that ended by itself ended. */
  readonly lastExit: ExitInfo | undefined;
  /** What the last instance failed with; undefined when that was stopped on purpose. */
  readonly lastError: { readonly code: GatewayErrorCode; readonly message: string } | undefined;
  /** Those that run, start or stop, the oldest first. */
  readonly instances: readonly InstanceStatus[];
}

/** What is left of the instances that have ended. */
export interface Past {
  /** When the last one was gone, else when the entry came into being. */
  readonly since: number;
  /** How the last one ended that ended by itself. */
  readonly exit: ExitInfo | undefined;
  /** Why the last one failed; undefined when it was stopped on purpose. */
  readonly error: GatewayError | undefined;
}

const liveliest: readonly Phase[] = ['ready', 'starting', 'pulling', 'stopping'];

/** The one that speaks for all; undefined when none has begun. */
export function liveliestOf<T extends Pick<InstanceStatus, 'phase'>>(instances: readonly T[]): T | undefined {
  return liveliest.map((phase) => instances.find((instance) => instance.phase === phase)).find(Boolean);
}

/** What can be said of an entry without the catalog. */
export function toServerStatus(
  { definition, enabled }: { readonly definition: InstanceDefinition; readonly enabled: boolean },
  instances: readonly Instance[],
  policy: Pick<RestartPolicy, 'phase' | 'restarts'>,
  past: Past,
): Omit<ServerStatus, 'stale' | 'displayName'> {
  const leading = liveliestOf(instances);
  // One that has failed, and is not gone yet, has failed all the same.
  const error = instances.findLast(({ failure }) => failure)?.failure ?? past.error;
  const resting = policy.phase === 'crash-loop' ? 'crash-loop' : 'failed';
  return {
    id: definition.id,
    type: definition.runtime.type,
    enabled,
    phase: leading?.phase ?? (past.error === undefined ? 'idle' : resting),
    since: leading?.since ?? past.since,
    inFlight: instances.reduce((sum, instance) => sum + (instance.user?.inFlight ?? 0), 0),
    restarts: policy.restarts,
    lastExit: past.exit,
    lastError: error && { code: error.code, message: error.message },
    instances: instances.map(toInstanceStatus),
  };
}

function toInstanceStatus(instance: Instance): InstanceStatus {
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
