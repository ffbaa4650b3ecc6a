import { randomBytes } from 'node:crypto';
import { channel } from 'node:diagnostics_channel';
import { Authorizer, describe } from './authorize.js';
import type { Catalog, CatalogInput, RuntimeInputOf, ServerDefinition } from './catalog/catalog.js';
import { fingerprint } from './catalog/fingerprint.js';
import { resolveCatalog } from './catalog/resolve-catalog.js';
import { Endpoint } from './endpoint/endpoint.js';
import type { EndpointServer } from './endpoint/endpoint-server.js';
import { type EndpointFactory, MergedTransport } from './endpoint/merged-transport.js';
import { createNames, type Names } from './endpoint/names.js';
import { hasPolicy, PolicyTransport } from './endpoint/policy-transport.js';
import { serveEndpoint } from './endpoint/serve.js';
import { type GatewaySnapshot, SnapshotStore } from './endpoint/snapshot.js';
import { GatewayError } from './errors.js';
import type { GatewayEvent } from './events.js';
import type {
  ConnectOptions,
  Gateway,
  GatewayNames,
  GatewayOptions,
  MergedOptions,
  ServerCheck,
  ServerDescription,
  StopOptions,
} from './gateway-api.js';
import { resolveLimits } from './gateway-limits.js';
import { ServerConnection } from './instance/connection.js';
import { Places } from './instance/limits.js';
import type { LinkWatchSettings } from './instance/link-watch.js';
import { createRedactor, type Redactor } from './instance/redact.js';
import { memoryShareOf } from './instance/room.js';
import { SessionPool } from './instance/session-pool.js';
import { type ServerStatus, Supervisor } from './instance/supervisor.js';
import { systemClock } from './options.js';
import type { Caller, RuntimeFactory, RuntimeProgress } from './runtime.js';
import { InProcessRuntime } from './runtimes/in-process.js';
import { LocalProcessRuntime } from './runtimes/local-process.js';
import { RemoteSseRuntime } from './runtimes/remote-sse.js';
import type { Transport } from './sdk.js';
import { once } from './util/once.js';
import { formatSize } from './util/quantity.js';
import { version } from './version.js';

/** The factories that every gateway has unless `builtins` is false. */
export type BuiltinRuntime = LocalProcessRuntime | RemoteSseRuntime | InProcessRuntime;

interface Entry {
  readonly definition: ServerDefinition;
  readonly factory: RuntimeFactory;
  readonly redactor: Redactor;
  readonly supervisor: Supervisor;
  readonly sessions: SessionPool;
  readonly fingerprint: string;
}

// Owner of what is the same for all callers.
const everybody = 'everybody';

const defaultGraceMs = 5_000;
// Where every gateway of the process tells its events too.
const events = channel('open-mcp-gateway');

/**
 * Makes a gateway for the servers of a catalog. Starts nothing.
 *
 * @throws `GatewayError` `CATALOG_INVALID` that lists every problem of the catalog
 */
export function createGateway<const Runtimes extends readonly RuntimeFactory[] = readonly []>(
  catalog: CatalogInput<RuntimeInputOf<BuiltinRuntime | Runtimes[number]>> | Catalog,
  options: GatewayOptions<Runtimes> = {},
): Gateway {
  return new CatalogGateway(catalog as CatalogInput, options);
}

class CatalogGateway implements Gateway {
  readonly #id = randomBytes(6).toString('hex');
  readonly #factories: ReadonlyMap<string, RuntimeFactory>;
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #options: GatewayOptions;
  readonly names: GatewayNames;
  readonly #names: Names;
  readonly #snapshots: SnapshotStore;
  readonly #peers = new Set<{ close(): Promise<void> }>();
  readonly #starting: Places;
  readonly #places: Places;
  readonly #memory: Places | undefined;
  #closed = false;
  readonly #authorizer: Authorizer;
  #instances = 0;
  #graceMs = defaultGraceMs;

  constructor(catalog: CatalogInput, options: GatewayOptions) {
    this.#options = options;
    this.#authorizer = new Authorizer(options.authorize);
    const builtins =
      options.builtins === false ? [] : [new LocalProcessRuntime(), new RemoteSseRuntime(), new InProcessRuntime()];
    this.#factories = new Map([...builtins, ...(options.runtimes ?? [])].map((factory) => [factory.type, factory]));
    const clock = options.clock ?? systemClock;
    const limits = resolveLimits(options.limits);
    this.#starting = new Places('limits.starting', limits.starting, clock);
    this.#places = new Places('limits.instances', limits.instances, clock);
    this.#memory =
      limits.memoryBytes === undefined ? undefined : new Places('limits.memory', limits.memoryBytes, clock, formatSize);
    const definitions = resolveCatalog(catalog, {
      factories: this.#factories,
      env: options.env ?? process.env,
      cwd: process.cwd(),
    });
    this.#entries = new Map(definitions.map((definition) => [definition.id, this.#createEntry(definition)]));
    this.#snapshots = new SnapshotStore(options.snapshot);
    const names = createNames((id) => this.#entries.has(id), options.names);
    this.#names = names;
    this.names = {
      tool: (server, name) => names.qualify('tool', server, name),
      prompt: (server, name) => names.qualify('prompt', server, name),
      toolOrigin: (qualified) => names.resolve('tool', qualified),
      promptOrigin: (qualified) => names.resolve('prompt', qualified),
    };
  }

  connect(id: string, options?: ConnectOptions): Transport;
  connect(options?: MergedOptions): Transport;
  connect(idOrOptions?: string | MergedOptions, options: ConnectOptions = {}): Transport {
    if (typeof idOrOptions === 'string') {
      const entry = this.#entry(idOrOptions);
      const transport = this.#connectRaw(entry, options.caller);
      const policy = {
        server: entry.definition.id,
        caller: options.caller ?? {},
        tools: entry.definition.tools,
        intercept: this.#options.intercept,
      };
      return hasPolicy(policy) ? new PolicyTransport(transport, policy) : transport;
    }
    const transport = new MergedTransport(
      this.#endpointFactory(idOrOptions ?? {}),
      (closed) => this.#peers.delete(closed),
      () => this.#refuseWhenClosed(),
    );
    this.#peers.add(transport);
    return transport;
  }

  async serve(transport: Transport, options: MergedOptions = {}): Promise<void> {
    this.#refuseWhenClosed();
    await serveEndpoint(transport, this.#endpointFactory(options), this.#peers);
  }

  snapshot(): GatewaySnapshot {
    return this.#snapshots.export(everybody);
  }

  async start(id: string): Promise<void> {
    return this.#entry(id).supervisor.start();
  }

  async restart(id: string, options: StopOptions = {}): Promise<void> {
    return this.#entry(id).supervisor.restart(options.graceMs ?? defaultGraceMs);
  }

  async stop(id: string, options: StopOptions = {}): Promise<void> {
    return this.#entry(id).supervisor.stop(options.graceMs ?? defaultGraceMs);
  }

  async check(
    id?: string,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<readonly ServerCheck[]> {
    const signal = options.signal ?? new AbortController().signal;
    const entries = id === undefined ? [...this.#entries.values()] : [this.#entry(id)];
    return Promise.all(
      entries.map(async ({ definition, supervisor }) => ({
        server: definition.id,
        ...(await supervisor.check(signal)),
      })),
    );
  }

  status(): readonly ServerStatus[];
  status(id: string): ServerStatus;
  status(id?: string): ServerStatus | readonly ServerStatus[] {
    return id === undefined
      ? [...this.#entries.values()].map(({ supervisor }) => supervisor.status())
      : this.#entry(id).supervisor.status();
  }

  describe(id: string): ServerDescription {
    return describe(this.#entry(id));
  }

  close(options: StopOptions = {}): Promise<void> {
    this.#graceMs = options.graceMs ?? defaultGraceMs;
    return this.#close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  readonly #close = once(async () => {
    this.#closed = true;
    const supervisors = [...this.#entries.values()].map(({ supervisor }) => supervisor.close(this.#graceMs));
    const stopped = await Promise.allSettled(supervisors);
    const peers = await Promise.allSettled([
      ...[...this.#peers].map((peer) => peer.close()),
      ...[...this.#entries.values()].map(({ sessions }) => sessions.close()),
    ]);
    const factories = [...this.#factories.values()].map(async (factory) => factory.close?.());
    const closed = await Promise.allSettled(factories);
    const failures = [...stopped, ...peers, ...closed].flatMap((result) =>
      result.status === 'rejected' ? [result.reason] : [],
    );
    if (failures.length > 0) {
      throw new AggregateError(failures, `closing the gateway failed: ${failures.map(String).join('; ')}`);
    }
  });

  #connectRaw(entry: Entry, caller: Caller | undefined): Transport {
    const { id, isolation } = entry.definition;
    switch (isolation) {
      case 'caller':
        return this.#connectServer(entry, caller);
      case 'request':
        throw new GatewayError(
          'ISOLATION_UNSUPPORTED',
          'isolation: request is for the merged peer: call connect() without an id, or serve()',
          { server: id },
        );
      default:
        return entry.sessions.connectShared(caller ?? {});
    }
  }

  /** A connection with an instance of its own. */
  #connectServer(
    { definition, factory, supervisor }: Pick<Entry, 'definition' | 'factory' | 'supervisor'>,
    caller: Caller | undefined,
    onProgress?: (progress: RuntimeProgress) => void,
  ): ServerConnection {
    return new ServerConnection({
      server: definition.id,
      requestTimeoutMs: definition.requestTimeoutMs,
      clock: this.#options.clock ?? systemClock,
      stream: factory.supports?.stderr !== false,
      acquire: (signal) => supervisor.acquire(caller, signal, onProgress),
    });
  }

  #endpointFactory({ caller = {}, servers, tags }: MergedOptions): EndpointFactory {
    const wanted = servers === undefined ? undefined : new Set(servers.map((id) => this.#entry(id).definition.id));
    const entries = [...this.#entries.values()].filter(
      ({ definition }) =>
        definition.enabled &&
        (wanted === undefined || wanted.has(definition.id)) &&
        (tags === undefined || tags.some((tag) => definition.tags.includes(tag))),
    );
    return (send) =>
      new Endpoint({
        servers: entries.map((entry) => this.#toEndpointServer(entry, caller)),
        caller,
        names: this.#names,
        snapshots: this.#snapshots,
        intercept: this.#options.intercept,
        clock: this.#options.clock ?? systemClock,
        version,
        emit: (event) => this.#emit(event),
        send,
      });
  }

  #toEndpointServer(entry: Entry, caller: Caller): EndpointServer {
    const { id, displayName, listTimeoutMs, startTimeoutMs, restart, tools, isolation } = entry.definition;
    return {
      id,
      displayName,
      fingerprint: entry.fingerprint,
      listTimeoutMs,
      startTimeoutMs,
      restart,
      tools,
      snapshotOwner: () =>
        isolation === 'shared'
          ? everybody
          : isolation === 'principal'
            ? caller.principal && `principal ${caller.principal}`
            : caller.id && `caller ${caller.id}`,
      // What is shared is watched once, by the session that shares it.
      watch: entry.sessions.watches(caller) ? toWatch(entry.definition) : undefined,
      connect: (who, onProgress) => entry.sessions.connect(who, onProgress),
    };
  }

  #createEntry(definition: ServerDefinition): Entry {
    const factory = this.#factories.get(definition.runtime.type) as RuntimeFactory;
    const redactor = createRedactor(definition.secrets);
    const clock = this.#options.clock ?? systemClock;
    const supervisor = new Supervisor({
      definition,
      factory,
      redactor,
      enabled: definition.enabled,
      displayName: redactor.text(definition.displayName),
      gatewayId: this.#id,
      clock,
      nextInstanceId: (server) => {
        this.#instances += 1;
        // Names of containers and Jobs know no capitals and no "_".
        return `${this.#id}-${server.toLowerCase().replaceAll('_', '-')}-${this.#instances}`;
      },
      authorize: () => this.#authorizer.permit({ definition, factory, redactor }),
      emit: (event) => this.#emit(event),
      restart: definition.restart,
      idleTimeoutMs: definition.idleTimeoutMs,
      starting: this.#starting,
      room: {
        instances: this.#places,
        memory: this.#memory && memoryShareOf(this.#memory, factory, definition.runtime.spec),
      },
      random: this.#options.random ?? Math.random,
    });
    const sessions = new SessionPool({
      server: definition.id,
      isolation: definition.isolation,
      startTimeoutMs: definition.startTimeoutMs,
      watch: toWatch(definition),
      clock,
      connect: (caller, onProgress) => this.#connectServer({ definition, factory, supervisor }, caller, onProgress),
    });
    return { definition, factory, redactor, supervisor, sessions, fingerprint: fingerprint(definition) };
  }

  #entry(id: string): Entry {
    const entry = this.#entries.get(id);
    if (entry === undefined) {
      const known = [...this.#entries.keys()].join(', ');
      throw new GatewayError(
        'SERVER_UNKNOWN',
        `there is no server "${id}" in the catalog; there are: ${known || 'none'}`,
      );
    }
    return entry;
  }

  #refuseWhenClosed(): void {
    if (this.#closed) {
      throw new GatewayError('GATEWAY_CLOSED', 'the gateway is closed', { delivered: false });
    }
  }

  #emit(event: GatewayEvent): void {
    try {
      this.#options.onEvent?.(event);
      // Subscribers throw into their own process, not into ours: Node reports it to the host.
      events.publish(event);
    } catch {
      // A host's listener must not change what happens to its servers.
    }
  }
}

function toWatch({ idleTimeoutMs, maxLifetimeMs, health }: ServerDefinition): LinkWatchSettings {
  return { idleTimeoutMs, maxLifetimeMs, health };
}
