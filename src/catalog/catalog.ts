import type { StandardSchemaV1 } from '@standard-schema/spec';

/**
 * A catalog as it is written, when nothing is known about the runtimes that are registered. What `createGateway` takes is a
 * `GatewayCatalog`, which is one whose entries the compiler has checked.
 */
export interface CatalogInput<Runtime = RuntimeInput> {
  /** In the order in which the merged peer lists them. */
  readonly servers: readonly ServerInput<Runtime>[];
}

/**
 * A catalog that was read from text.
 *
 * Its entries remember where they were written and in which folder, also when they are spread into another catalog:
 * `{ servers: [...catalog.servers, mine] }` or `{ ...entry, tags: [] }`. The data are frozen; spread them to change them.
 */
export interface Catalog {
  /** In the order of the text, which is that of the merged peer's lists. */
  readonly servers: readonly ServerInput<ParsedRuntime>[];
}

declare const parsed: unique symbol;

/**
 * The `runtime` of an entry that was read from text: its type and fields are checked when a gateway is created, so the
 * compiler lets it pass. Nothing else does: what is written in code is checked against the runtimes that are registered.
 */
// Not an interface: one has no index signature, and would fit no `RuntimeInput`.
export type ParsedRuntime = { readonly type: string & { readonly [parsed]: true } };

/** The `runtime` of an entry when nothing is known about the runtimes that are registered. */
export interface RuntimeInput {
  /** Which runtime: the `type` of a registered factory. */
  readonly type: string;
  /** What the `spec` of that factory takes. */
  readonly [key: string]: unknown;
}

/**
 * What an entry may write as `runtime` when these factories are registered: for a union of factories a union of
 * specs, told apart by `type`. A factory of which no more is known than that it is a `RuntimeFactory` takes any type and
 * fields: beside it those of the others are not checked either.
 */
export type RuntimeInputOf<Factory> = Factory extends {
  readonly type: infer Type extends string;
  readonly spec: infer Spec extends StandardSchemaV1;
}
  ? { readonly type: Type } & (unknown extends StandardSchemaV1.InferInput<Spec>
      ? { readonly [key: string]: unknown }
      : StandardSchemaV1.InferInput<Spec>)
  : never;

/** How callers share the instances of an entry. */
export type Isolation = 'caller' | 'shared' | 'principal' | 'request';

/** What a reload does to a running instance whose entry has changed. */
export type OnReload = 'drain' | 'keep' | 'now';

/** Which era of the protocol a server speaks. */
export type Protocol = 'auto' | 'legacy' | 'modern';

/** A duration such as `500ms`, `30s`, `5m` or `2h`; 0 where the key's comment says what it means. */
export type Duration = string | 0;

/** One server of a catalog. Keys are the same in YAML, JSON and code. For `createGateway` see `GatewayServer`. */
export interface ServerInput<Runtime = RuntimeInput> {
  /**
   * Names the server: letters, digits, `_` and `-`, at most 48, starting with a letter or digit, without `__` and
   * without `_` at the end. Unique, also when case is ignored. `${VAR}` is not replaced here.
   */
  readonly id: string;
  /** A name for people. @default the id */
  readonly display_name?: string | undefined;
  /** What the server is for: for those who read the catalog, as the gateway shows it nowhere. */
  readonly description?: string | undefined;
  /** Words by which hosts choose servers. @default [] */
  readonly tags?: readonly string[] | undefined;
  /** Environment variables of the server, for runtimes that start one. @default \{\} */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** How the server is run or reached. */
  readonly runtime: Runtime;
  /** How callers share instances. @default 'caller' */
  readonly isolation?: Isolation | undefined;
  /** Stops an instance this long after its last request or subscription ended; 0 never does. @default '5m' */
  readonly idle_timeout?: Duration | undefined;
  /** `false` keeps the entry but never starts it. @default true */
  readonly enabled?: boolean | undefined;
  /** How long a start may take, without the pull of an image. @default '30s' */
  readonly start_timeout?: Duration | undefined;
  /** How long the pull of an image may take. @default '10m' */
  readonly pull_timeout?: Duration | undefined;
  /** How long a request may take after its delivery; progress restarts the clock. @default '10m' */
  readonly request_timeout?: Duration | undefined;
  /** What a reload does to running instances of a changed entry. @default 'drain' */
  readonly on_reload?: OnReload | undefined;
  /** When and how often a server that ended is started again. */
  readonly restart?: RestartInput | undefined;
  /** The largest message: one line or one HTTP body, such as `512KiB` or `16MiB`. @default '16MiB' */
  readonly max_message?: string | undefined;
  /** Replaces an instance that has lived this long, between requests; 0 never does. @default 0 */
  readonly max_lifetime?: Duration | undefined;
  /** How long a merged list waits for this server. @default '10s' */
  readonly list_timeout?: Duration | undefined;
  /** How a running server is watched. */
  readonly health?: HealthInput | undefined;
  /** Which era of the protocol the server speaks. @default 'auto' */
  readonly protocol?: Protocol | undefined;
  /** Which tools callers see. */
  readonly tools?: ToolsInput | undefined;
}

/** When and how often a server that ended is started again. */
export interface RestartInput {
  /** So many restarts within `window` are a crash loop. @default 5 */
  readonly max?: number | undefined;
  /** The time in which restarts are counted. @default '60s' */
  readonly window?: Duration | undefined;
  /** The wait before the first restart; it doubles each time. @default '1s' */
  readonly backoff?: Duration | undefined;
  /** The longest wait between restarts. @default '30s', or `backoff` when that is longer */
  readonly max_backoff?: Duration | undefined;
  /** How long a crash loop rests between two tries. @default '5m' */
  readonly cooldown?: Duration | undefined;
}

/** How a running server is watched. */
export interface HealthInput {
  /** The time between two checks; 0 makes none. @default '30s' */
  readonly interval?: Duration | undefined;
  /** How long an answer may take. @default '5s' */
  readonly timeout?: Duration | undefined;
  /** So many failures in a row end the instance. @default 3 */
  readonly failures?: number | undefined;
}

/** Patterns of tool names, where `*` stands for any characters. */
export interface ToolsInput {
  /** Only these. @default every tool */
  readonly allow?: readonly string[] | undefined;
  /** Not these; wins over `allow`. @default [] */
  readonly deny?: readonly string[] | undefined;
}

/** An entry of a catalog after validation: defaults filled in, `${VAR}` replaced, spec checked by its runtime. */
export interface ServerDefinition {
  readonly id: string;
  readonly displayName: string;
  readonly description: string | undefined;
  readonly tags: readonly string[];
  readonly enabled: boolean;
  /** With `${VAR}` replaced. */
  readonly env: Readonly<Record<string, string>>;
  /** `spec` is what the factory's schema made of the rest of the entry's `runtime`. */
  readonly runtime: { readonly type: string; readonly spec: unknown };
  /** Absolute folder against which relative paths of the spec are resolved. */
  readonly baseDir: string;
  readonly isolation: Isolation;
  /** 0: never. */
  readonly idleTimeoutMs: number;
  readonly startTimeoutMs: number;
  readonly pullTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** 0: never. */
  readonly maxLifetimeMs: number;
  readonly listTimeoutMs: number;
  readonly maxMessageBytes: number;
  readonly onReload: OnReload;
  readonly restart: {
    readonly max: number;
    readonly windowMs: number;
    readonly backoffMs: number;
    readonly maxBackoffMs: number;
    readonly cooldownMs: number;
  };
  /** `intervalMs` 0: no checks. */
  readonly health: { readonly intervalMs: number; readonly timeoutMs: number; readonly failures: number };
  readonly protocol: Protocol;
  readonly tools: { readonly allow: readonly string[] | undefined; readonly deny: readonly string[] };
  /** What must not show: each secret value and what stands for it, such as `${DB_PASSWORD}`. */
  readonly secrets: ReadonlyMap<string, string>;
  /** Where `${VAR}` still stands, because it is looked up at each start: sorted paths, such as `env.TOKEN`. */
  readonly variablesAt: readonly string[];
  /**
   * What to start with these variables; undefined when none stands in it.
   *
   * @throws `GatewayError` `START_FAILED` that names every problem
   */
  readonly withVariables: ((env: Environment) => StartDefinition) | undefined;
}

/** What variables may change of a definition. */
export type StartDefinition = Pick<ServerDefinition, 'env' | 'runtime' | 'secrets'>;

/** Where `${VAR}` is looked up. */
export type Environment = Readonly<Record<string, string | undefined>>;
