import type { KubernetesObject } from '../shared/kubernetes/resources.js';

/** What we read of a pod. */
export interface Pod extends KubernetesObject {
  readonly spec?: {
    /** Once it has been given to a node. */
    readonly nodeName?: string;
    readonly initContainers?:
      | readonly {
          readonly name: string;
          /** `Always` for one that runs beside the others, until these have ended. */
          readonly restartPolicy?: string;
        }[]
      | null;
  };
  readonly status?: {
    readonly phase?: string;
    /** Such as `Evicted`. */
    readonly reason?: string;
    readonly message?: string;
    readonly conditions?: readonly Condition[] | null;
    readonly initContainerStatuses?: readonly ContainerStatus[] | null;
    readonly containerStatuses?: readonly ContainerStatus[] | null;
  };
}

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
}

export interface ContainerStatus {
  readonly name: string;
  readonly state?: {
    readonly waiting?: { readonly reason?: string; readonly message?: string };
    readonly running?: object;
    readonly terminated?: TerminatedState;
  };
}

export interface TerminatedState {
  readonly exitCode: number;
  readonly signal?: number;
  /** Such as `OOMKilled`. */
  readonly reason?: string;
  readonly message?: string;
}

/** What we read of a Job. */
export interface Job extends KubernetesObject {
  readonly spec?: { readonly suspend?: boolean | null };
  readonly status?: { readonly conditions?: readonly Condition[] | null };
}

/** What we read of an event. */
export interface Event extends KubernetesObject {
  readonly type?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastTimestamp?: string | null;
  readonly eventTime?: string | null;
}

/** What we read of a Lease. */
export interface Lease extends KubernetesObject {
  readonly spec?: { readonly leaseDurationSeconds?: number };
}
