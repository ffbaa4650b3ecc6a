import type { Interceptor } from './endpoint/intercept.js';
import type { NameOrigin, NamingFunction } from './endpoint/names.js';
import type { GatewaySnapshot } from './endpoint/snapshot.js';
import type { GatewayEvent } from './events.js';
import type { GatewayCatalog } from './gateway-catalog.js';
import type { ServerStatus } from './instance/server-status.js';
import type { Clock } from './options.js';
import type { KubernetesRole } from './roles.js';
import type { Caller, CheckResult, RuntimeFactory } from './runtime.js';
import type { Transport } from './sdk.js';

/** What exactly a catalog entry would start. Starts nothing. */
export interface ServerDescription {
  /** Of the catalog entry. */
  readonly id: string;
  /** The runtime's. */
  readonly type: string;
  /** The same as long as the same thing would be started: changes with the spec and the names of variables. */
  readonly fingerprint: string;
  /** As the runtime tells it: argv, mounts, image, names of environment variables. Secrets are replaced. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** Settings of `createGateway`. */
export interface GatewayOptions<Runtimes extends readonly RuntimeFactory[] = readonly RuntimeFactory[]> {
  /** More runtimes, each of its own type; one with the type of a built-in one takes its place. The gateway closes them. */
  readonly runtimes?: Runtimes | undefined;
  /**
   * Whether the runtimes of this library are there.
   *
   * @default true
   */
  readonly builtins?: boolean | undefined;
  /**
   * Where `${VAR}` of the catalog is looked up.
   *
   * An object is read when the gateway is created and at each reload. A function is called when a server starts whose `env`
   * or `runtime` holds a variable, and its values are for that start; starts at the same time share one call, which counts
   * for `start_timeout`. With a function, variables may stand in `env` and `runtime` alone, and there only where any text
   * may. What it throws is shown to nobody: the start fails with `START_FAILED`, as it does for a variable that is not set.
   *
   * @default process.env, read when the gateway is created and at each reload
   */
  readonly env?:
    | Readonly<Record<string, string | undefined>>
    | (() => Readonly<Record<string, string | undefined>> | Promise<Readonly<Record<string, string | undefined>>>)
    | undefined;
  /** Receives typed events. What it throws is ignored. */
  readonly onEvent?: ((event: GatewayEvent) => void) | undefined;
  /**
   * Asked before the first start of each fingerprint; false (or a throw) refuses it with `NOT_AUTHORIZED`.
   *
   * @default everything may start
   */
  readonly authorize?: ((description: ServerDescription) => boolean | Promise<boolean>) | undefined;
  /**
   * A function around each request on its way to a server: to allow, deny, audit, limit or filter.
   *
   * @default requests pass as they are
   */
  readonly intercept?: Interceptor | undefined;
  /**
   * The name under which the merged peer shows a tool or prompt. A name that is taken already gives way to the default.
   *
   * @default `<server>__<name>`, at most 64 characters of `[a-zA-Z0-9_-]`
   */
  readonly names?: NamingFunction | undefined;
  /** What an earlier gateway's `snapshot()` returned: lists are answered from it without starting any server. */
  readonly snapshot?: GatewaySnapshot | undefined;
  /**
   * How much may run at once, over all servers.
   *
   * @default no limit, but on starts
   */
  readonly limits?: GatewayLimits | undefined;
  /**
   * Time, for tests.
   *
   * @default the real time
   */
  readonly clock?: Clock | undefined;
  /**
   * Chance, for tests: a number from 0 up to 1.
   *
   * @default Math.random
   */
  readonly random?: (() => number) | undefined;
}

/**
 * How much a gateway may run. Over a limit a start waits until `start_timeout`, then fails with `LIMIT_REACHED`. One that
 * could never be made fails at once, and `check()` says so.
 */
export interface GatewayLimits {
  /**
   * Starts at once.
   *
   * @default 8
   */
  readonly starting?: number | undefined;
  /**
   * Instances at once, over all entries.
   *
   * @default no limit
   */
  readonly instances?: number | undefined;
  /**
   * Memory at once, over all instances: the sum of what their runtimes hold them to, such as the memory of a container.
   * A server whose runtime sets it no limit counts for nothing. A size such as `512MiB` or `4GiB`.
   *
   * @default no limit
   */
  readonly memory?: string | undefined;
}

/** Settings of a connection. */
export interface ConnectOptions {
  /** Who connects; without it each connection is a caller of its own. */
  readonly caller?: Caller | undefined;
}

/** Settings of a connection to one server. */
export interface ServerConnectOptions extends ConnectOptions {
  /**
   * Which era of the protocol the caller speaks: `legacy` for the revisions with sessions, up to 2025-11-25, `modern` for
   * 2026-07-28. The gateway then finds out what the server speaks, and translates where that is the other one. `initialize`,
   * and what names a revision, is refused with -32022 where that is of the other era.
   *
   * @default the server's own: messages pass as they are
   */
  readonly era?: 'legacy' | 'modern' | undefined;
}

/** Which servers the merged peer holds, and for whom. */
export interface MergedOptions extends ConnectOptions {
  /**
   * Only these, by id.
   *
   * @default every enabled server
   */
  readonly servers?: readonly string[] | undefined;
  /** Only servers that have one of these tags. */
  readonly tags?: readonly string[] | undefined;
}

/** Settings of `fetch`. */
export interface FetchOptions extends Omit<MergedOptions, 'caller'> {
  /**
   * Who sends the request, as the host has found out; with `id` or `principal`. Requests of one caller belong together: they
   * share its instances, and only it can go on with a call that needs input. `intercept` gets the very caller of the request
   * that it stands around, so that rights in `data` may change from one to the next; `headers()` and `authProvider()` get a
   * copy of the latest.
   */
  readonly caller: Caller;
  /**
   * What a Host header may hold: names for any port (`mcp.example.com`), or names with their port, without `https://` or `*`.
   * Others get 403.
   *
   * @default ['localhost', '127.0.0.1', '[::1]']
   */
  readonly hosts?: readonly string[] | undefined;
  /**
   * Origins whose pages may connect besides pages of the host itself, such as `https://app.example.com`, without a path or
   * `*`. Others get 403.
   *
   * @default []
   */
  readonly origins?: readonly string[] | undefined;
}

/** Tells where the names of the merged peer come from. */
export interface GatewayNames {
  /** The name under which callers of the merged peer see a tool of a server. */
  tool(server: string, name: string): string;
  /** The name under which callers of the merged peer see a prompt of a server. */
  prompt(server: string, name: string): string;
  /** Where a tool of the merged peer comes from; undefined when it is nobody's, or not seen yet. */
  toolOrigin(qualified: string): NameOrigin | undefined;
  /** Where a prompt of the merged peer comes from. */
  promptOrigin(qualified: string): NameOrigin | undefined;
}

/** Settings of a stop. */
export interface StopOptions {
  /**
   * How long open requests may go on before they are answered with `SERVER_STOPPED`, in milliseconds. What is no number
   * from 0 is refused with `OPTION_INVALID`; `close` ends everything all the same.
   *
   * @default 5000
   */
  readonly graceMs?: number | undefined;
}

/** What a reload has done, by id. An entry whose runtime is of another type now is both removed and added. */
export interface ReloadResult {
  /** Those that the catalog did not have before. */
  readonly added: readonly string[];
  /** Those that it has no more; their servers have ended. */
  readonly removed: readonly string[];
  /** Those of which what is started has changed, or what callers see. */
  readonly changed: readonly string[];
  /** Those that go on as if nothing had happened. */
  readonly unchanged: readonly string[];
}

/**
 * The SDK's `Transport`, with callbacks that are there or not. Frameworks declare them so, and with
 * `exactOptionalPropertyTypes` do not take what may be there and undefined.
 */
export interface GatewayTransport extends Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: NonNullable<Transport['onmessage']>;
  sessionId?: string;
  setProtocolVersion?: (version: string) => void;
}

/**
 * Owns the servers of a catalog: everything it starts ends with `close()`.
 *
 * `Runtime` is the union of the ones that its host has added, by which the compiler checks catalogs in code.
 */
export interface Gateway<Runtime extends RuntimeFactory = never> extends AsyncDisposable {
  /**
   * A transport to one server, with the server's own names, messages untouched. Starts nothing: the transport's `start()`
   * does, which SDK clients call. One transport is one session with a server of its own, and ends with it.
   *
   * With `era` the caller speaks that era of the protocol whatever the server speaks; names stay the server's own. A server
   * with sessions is started once for each set of capabilities that a stateless caller declares.
   *
   * @throws `GatewayError` `SERVER_UNKNOWN`; `OPTION_INVALID` for what is no such option
   */
  connect(id: string, options?: ServerConnectOptions): GatewayTransport;
  /**
   * A transport to the merged peer: every server as one, with qualified names. Starts nothing: servers start when they are
   * needed. It outlives its servers; each connection is a session of its own.
   *
   * @throws `GatewayError` `SERVER_UNKNOWN` for an id in `servers`; `OPTION_INVALID` for what is no such option
   */
  connect(options?: MergedOptions): GatewayTransport;
  /**
   * Serves the merged peer on a server-side transport of the host, once per session. Resolves when the transport has
   * started; the session ends with it.
   *
   * @throws `GatewayError` `SERVER_UNKNOWN` for an id in `servers`; `OPTION_INVALID` for what is no such option, or no
   * transport; `GATEWAY_CLOSED`; what the transport failed to start with
   */
  serve(transport: Transport, options?: MergedOptions): Promise<void>;
  /**
   * Answers a request to an MCP endpoint of the host with the merged peer, in the revision that the request speaks: each of
   * 2026-07-28 by itself, those of earlier revisions in sessions of Streamable HTTP. Fits every server of `Request` and
   * `Response`, and `node:http` by an adapter. Starts no server. Once the gateway closes, the response is a 503.
   *
   * @example
   * ```ts
   * app.all('/mcp', (context) => gateway.fetch(context.req.raw, { caller: { id: userOf(context) } }));
   * ```
   *
   * @throws `GatewayError` `OPTION_INVALID` for what is no such option or no `Request`, and for a caller without `id` and
   * `principal`; `SERVER_UNKNOWN` for an id in `servers`. What is wrong with the request is a response.
   */
  fetch(request: Request, options: FetchOptions): Promise<Response>;
  /** Where the names of the merged peer come from. */
  readonly names: GatewayNames;
  /** What is known of the servers whose lists are the same for all callers, to be given to a later gateway. Plain JSON. */
  snapshot(): GatewaySnapshot;
  /**
   * Starts a server ahead of its use, and resolves when it runs; the next connection takes it, of a caller of whom the host
   * has said nothing, or a shared one. Forgets earlier failures. Starts no other one while one waits already.
   *
   * @throws `GatewayError` `SERVER_UNKNOWN`, `SERVER_DISABLED`, `NOT_AUTHORIZED`, `GATEWAY_CLOSED`; `SERVER_STOPPED` when a
   * stop comes meanwhile; what the start failed with, such as `START_FAILED`
   */
  start(id: string): Promise<void>;
  /**
   * Stops all instances of a server: new requests are refused, open ones get their grace. Resolves when they have ended; the
   * next request starts one again.
   *
   * @throws `GatewayError` `SERVER_UNKNOWN`; `OPTION_INVALID`; `STOP_FAILED`, or an `AggregateError` of several
   */
  stop(id: string, options?: StopOptions): Promise<void>;
  /**
   * Stops all instances of a server like `stop`, forgets earlier failures and starts one ahead. Calls at the same time share
   * one restart.
   *
   * @throws what `stop` and `start` throw
   */
  restart(id: string, options?: StopOptions): Promise<void>;
  /**
   * Can each entry be started? Starts nothing.
   *
   * @throws `GatewayError` `SERVER_UNKNOWN`, `OPTION_INVALID`, `GATEWAY_CLOSED`; `signal.reason` once `signal` is aborted
   */
  check(id?: string, options?: { readonly signal?: AbortSignal | undefined }): Promise<readonly ServerCheck[]>;
  /** Every entry, touched or not, in the order of the catalog. */
  status(): readonly ServerStatus[];
  /** @throws `GatewayError` `SERVER_UNKNOWN` */
  status(id: string): ServerStatus;
  /** Says what exactly would be started. @throws `GatewayError` `SERVER_UNKNOWN` */
  describe(id: string): ServerDescription;
  /**
   * The smallest Roles with which every enabled entry can run in Kubernetes: one for each namespace, ready for
   * `kubectl apply`. Empty when no entry needs a cluster. Asks nobody.
   */
  rbac(): readonly KubernetesRole[];
  /**
   * Takes over another catalog while everything runs. Definitions are compared as they are after validation: what is not
   * changed is not touched, and what callers only see (names, description, tags, filters) restarts nothing. Running servers
   * of a changed entry follow its `on_reload`; those of a removed one get the grace of `stop`. What comes after the call
   * gets the new catalog; the promise resolves when servers that had to end have ended. Calls at the same time are taken
   * in order: the last one wins.
   *
   * @throws `GatewayError` `CATALOG_INVALID` that lists every problem; the old catalog stays, as it does with
   * `OPTION_INVALID` and `GATEWAY_CLOSED`
   * @throws `AggregateError` when servers could not be stopped; the new catalog is in force, and `result` says what changed
   */
  reload(catalog: GatewayCatalog<readonly Runtime[]>, options?: StopOptions): Promise<ReloadResult>;
  /**
   * Stops everything, once; every call shares one outcome. The default grace is that of `stop`, and the first call's counts.
   *
   * @throws `AggregateError` of what could not be ended; `GatewayError` `OPTION_INVALID`, when all the same everything has ended
   */
  close(options?: StopOptions): Promise<void>;
}

/** The answer of a check for one entry. */
export interface ServerCheck extends CheckResult {
  /** Id of the catalog entry. */
  readonly server: string;
}
