/** The runtime's part of a `k8s-job` entry. */
export interface K8sJobSpec {
  /** Where the Job is made. */
  readonly namespace: string;
  /** The container's image. */
  readonly image: string;
  /**
   * The ServiceAccount that the server runs as; its token is mounted.
   *
   * @default the namespace's default one, without a token
   */
  readonly service_account?: string | undefined;
  /** Requests and limits by resource, as in `{ limits: { memory: '256Mi', cpu: '500m' } }`. */
  readonly resources?:
    | {
        /** What a node must have free, by resource. */
        readonly requests?: Readonly<Record<string, string>> | undefined;
        /** What the server may use, by resource. */
        readonly limits?: Readonly<Record<string, string>> | undefined;
      }
    | undefined;
  /**
   * The program, in place of the image's entry point.
   *
   * @default what the image says
   */
  readonly command?: string | undefined;
  /**
   * Its arguments. Without a `command` an empty list is as none.
   *
   * @default what the image says; none with a `command`
   */
  readonly args?: readonly string[] | undefined;
  /**
   * Where it runs: an absolute path in the container.
   *
   * @default what the image says
   */
  readonly working_dir?: string | undefined;
  /**
   * Numeric user, or `user:group`; `image` leaves both to the image.
   *
   * @default '65532:65532'
   */
  readonly user?: string | undefined;
  /** Secrets and ConfigMaps of the namespace whose keys become variables; the entry's `env` wins over them. */
  readonly env_from?: readonly K8sEnvSource[] | undefined;
  /**
   * When the node pulls the image.
   *
   * @default what Kubernetes does: `Always` for the tag `latest` or none, else `IfNotPresent`
   */
  readonly pull_policy?: 'Always' | 'IfNotPresent' | 'Never' | undefined;
  /** Secrets with credentials for the registry. */
  readonly image_pull_secrets?: readonly string[] | undefined;
  /** Labels that a node must have. */
  readonly node_selector?: Readonly<Record<string, string>> | undefined;
  /** Taints of nodes that the pod tolerates. */
  readonly tolerations?: readonly K8sToleration[] | undefined;
  /** Switches that loosen the pod; by default it fits the Pod Security Standard "restricted". */
  readonly pod_security?: K8sPodSecurity | undefined;
  /**
   * How long a server may live at most; `"0"` for no limit.
   *
   * @default '24h'
   */
  readonly active_deadline?: string | undefined;
  /**
   * How long Kubernetes keeps a Job that has ended and that nobody deleted.
   *
   * @default '60s'
   */
  readonly ttl?: string | undefined;
  /**
   * How long the start waits while no node can take the pod; raise it, and `start_timeout`, where nodes are added on demand.
   *
   * @default '15s'
   */
  readonly schedule_timeout?: string | undefined;
  /**
   * A context of the kubeconfig.
   *
   * @default its current one
   */
  readonly context?: string | undefined;
  /**
   * Merged into the pod's template, in Kubernetes' own form: maps key by key, containers, volumes and `env` by name, mounts
   * by path, other lists as a whole; `null` takes a key away. The server's container is named `mcp`. Values in it can be
   * read by whoever can read pods: secrets belong into `env`.
   */
  readonly pod?:
    | {
        /** Labels and annotations of the pod. */
        readonly metadata?: Readonly<Record<string, unknown>> | undefined;
        /** The pod's own specification. */
        readonly spec?: Readonly<Record<string, unknown>> | undefined;
      }
    | undefined;
}

/** An existing Secret or ConfigMap as a source of variables. */
export interface K8sEnvSource {
  /** The name of a Secret; this or `config_map`. */
  readonly secret?: string | undefined;
  /** The name of a ConfigMap; this or `secret`. */
  readonly config_map?: string | undefined;
  /** Put before each name. */
  readonly prefix?: string | undefined;
  /**
   * Whether the server starts without it when it is missing.
   *
   * @default false
   */
  readonly optional?: boolean | undefined;
}

/** A taint that a pod tolerates. */
export interface K8sToleration {
  /** The taint's key; without it every key, with `operator: Exists`. */
  readonly key?: string | undefined;
  /**
   * Whether the taint must have this `value`, or any.
   *
   * @default 'Equal'
   */
  readonly operator?: 'Exists' | 'Equal' | undefined;
  /** The taint's value. */
  readonly value?: string | undefined;
  /**
   * Which effect of the taint is tolerated.
   *
   * @default every one
   */
  readonly effect?: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute' | undefined;
  /**
   * How long the pod stays on a node that gets the taint, with `effect: NoExecute`.
   *
   * @default for ever
   */
  readonly toleration_seconds?: number | undefined;
}

/** How the pod is held in check. */
export interface K8sPodSecurity {
  /**
   * Refuses to start as root.
   *
   * @default true
   */
  readonly run_as_non_root?: boolean | undefined;
  /**
   * The image's files cannot be written; `/tmp` can.
   *
   * @default true
   */
  readonly read_only?: boolean | undefined;
  /**
   * No program gains rights, by setuid for one.
   *
   * @default true
   */
  readonly no_new_privileges?: boolean | undefined;
  /**
   * Takes every capability away.
   *
   * @default true
   */
  readonly drop_capabilities?: boolean | undefined;
  /** Capabilities to give back. */
  readonly cap_add?: readonly string[] | undefined;
  /**
   * The profile that limits system calls.
   *
   * @default 'RuntimeDefault'
   */
  readonly seccomp?: 'RuntimeDefault' | 'Unconfined' | undefined;
}
