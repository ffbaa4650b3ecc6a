import type { Readable } from 'node:stream';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { Clock } from './options.js';
import type { Transport } from './sdk.js';

/**
 * Who is connected: given by the host in `connect` and `serve`, handed to runtimes as it is.
 */
export interface Caller {
  /** Peers with the same id, which is not empty, are the same caller. Without an id each connection is its own caller. */
  readonly id?: string | undefined;
  /** On whose behalf: a user, a tenant. Not empty. */
  readonly principal?: string | undefined;
  /** What the host's authentication found out, as the SDK's `AuthInfo`. */
  readonly authInfo?: unknown;
  /** Anything else that the host's own hooks want to see. */
  readonly data?: unknown;
}

/** How far a pull or start has come. */
export interface RuntimeProgress {
  /** In words, for people; holds no secrets. */
  readonly message?: string | undefined;
  /** Done so far, in the unit of `total`. */
  readonly current?: number | undefined;
  /** What `current` will be in the end; undefined while nobody knows. */
  readonly total?: number | undefined;
}

/** What a runtime gets to know besides its spec. */
export interface RuntimeContext {
  /** Id of the catalog entry. */
  readonly server: string;
  /** The entry's `env`, with `${VAR}` replaced. */
  readonly env: Readonly<Record<string, string>>;
  /** Absolute folder against which relative paths of the spec are resolved. */
  readonly baseDir: string;
  /** Unique among the instances of this gateway; fit for names and labels (`[a-z0-9-]`). */
  readonly instanceId: string;
  /** Unique among gateways; fit for names and labels (`[a-z0-9-]`). */
  readonly gatewayId: string;
  /** For whom: with `isolation: principal` only the `principal`, with `shared` undefined. */
  readonly caller?: Caller | undefined;
  /** Ends `open` or `check`: they reject with `signal.reason`, and leave nothing behind. */
  readonly signal: AbortSignal;
  /** Tells which phase `open` is in; a `pulling` phase has its own time-out. */
  report(phase: 'pulling' | 'starting', progress?: RuntimeProgress): void;
  /**
   * Keeps variables that the runtime has read itself out of errors and progress, as it is done for the entry's `env`:
   * values whose names say that they are credentials, and passwords in URLs. Before `open` or `check` settles.
   */
  conceal(env: Readonly<Record<string, string>>): void;
  /** Of the entry. */
  readonly limits: {
    /** Largest message in bytes, in either direction. */
    readonly maxMessageBytes: number;
    /** How much of the end of stderr is kept, in bytes. */
    readonly stderrTailBytes: number;
  };
  /** The gateway's: what a runtime waits for goes by it. */
  readonly clock: Clock;
}

/**
 * What `open` returns: an SDK `Transport`, and a little more.
 *
 * - Messages that arrive before `start()` wait, and are delivered in order.
 * - When the server ends by itself, `onerror` receives a `GatewayError` with `exit`, then `onclose` fires.
 * - `onclose` fires exactly once, after the resources are gone; also after `close()`.
 * - `close()` may be called twice or at once; "already gone" is success.
 * - `send()` always settles.
 */
export interface RuntimeTransport extends Transport {
  /** Rejects when the server is not alive. Without it an open transport counts as alive. */
  health?(signal: AbortSignal): Promise<void>;
  /**
   * Over byte streams: the operating system's id of the server, null where it has none here. SDK v2 recognises stdio by
   * the presence of `pid` and `stderr`.
   */
  readonly pid?: number | null | undefined;
  /**
   * Over byte streams: what the server writes to stderr, for hosts that want to see it. It is drained whether anybody
   * reads here or not; what nobody reads is dropped.
   */
  readonly stderr?: Readable | null | undefined;
  /**
   * Over byte streams: the end of what the server wrote to stderr so far, at most `limits.stderrTailBytes`. It stands in
   * the error of a server that is ended because it does not answer.
   */
  stderrTail?(): string;
}

/** The answer of a check: can `open` work? */
export interface CheckResult {
  /** Whether nothing is missing that could be seen without starting anything. */
  readonly ok: boolean;
  /** What is missing, a sentence each that says how to mend it. Empty when `ok`. */
  readonly problems: readonly string[];
}

/** Verbs that a runtime needs to be allowed on one kind of Kubernetes resource. */
export interface AccessRule {
  /** A context of the kubeconfig; its current one when undefined. */
  readonly context: string | undefined;
  /** Where the resources are. */
  readonly namespace: string;
  /** Empty for the core API. */
  readonly apiGroup: string;
  /** In plural, with a subresource after a slash: `pods/log`. */
  readonly resource: string;
  /** As RBAC names them: `get`, `create`. */
  readonly verbs: readonly string[];
}

/** What a runtime can do; everything is true unless it says otherwise. */
export interface RuntimeSupport {
  /** Entries may have `env`. */
  readonly env?: boolean | undefined;
  /** The runtime sees what its server writes to stderr. */
  readonly stderr?: boolean | undefined;
  /** The end of a server has an exit code or a signal. */
  readonly exit?: boolean | undefined;
  /**
   * `open` starts a server, which may speak or end before anybody has spoken to it, and is gone when `close` has settled.
   * False for what connects to servers that already run: they begin a session when they are asked to, and notice its end
   * in their own time.
   */
  readonly starts?: boolean | undefined;
}

/**
 * Starts MCP servers of one type and connects to them.
 *
 * @typeParam Spec - the runtime's part of a catalog entry, after validation
 */
export interface RuntimeFactory<Spec = unknown> {
  /** The `type` of an entry's `runtime` that selects this factory. */
  readonly type: string;
  /**
   * Checks the rest of the entry's `runtime`, synchronously. Any Standard Schema will do: Valibot, Zod, ArkType.
   *
   * What it says must follow from the value alone: a reload does not ask again about text that has not changed.
   */
  readonly spec: StandardSchemaV1<unknown, Spec>;
  /** What this runtime cannot do. Users read it, and so does the contract suite. */
  readonly supports?: RuntimeSupport;
  /** Could `open` work? Without side effects. */
  check?(spec: Spec, context: RuntimeContext): Promise<CheckResult>;
  /**
   * What `open` would start, as plain JSON, for people and policies: argv, mounts, image. Starts nothing and asks
   * nobody. Names of environment variables may show, values never.
   */
  describe?(spec: Spec, context: Pick<RuntimeContext, 'server' | 'env' | 'baseDir'>): Readonly<Record<string, unknown>>;
  /**
   * How much memory one server of this spec may use at most, in bytes: what counts for the gateway's `limits.memory`.
   * Undefined when nothing holds the server to a limit. Asks nobody.
   */
  memory?(spec: Spec): number | undefined;
  /** What `open`, and the transports it returns, need to be allowed in a Kubernetes cluster. Asks nobody. */
  rbac?(spec: Spec, context: Pick<RuntimeContext, 'server' | 'env'>): readonly AccessRule[];
  /**
   * Starts or reaches the server and returns a transport that nobody has started yet.
   *
   * @throws `GatewayError` `START_FAILED`; `context.signal.reason` once aborted. A rejection leaves nothing behind.
   */
  open(spec: Spec, context: RuntimeContext): Promise<RuntimeTransport>;
  /** Releases what outlives a single transport. Called once, after the last transport closed. */
  close?(): Promise<void>;
}
