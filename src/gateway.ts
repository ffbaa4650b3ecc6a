import { randomBytes } from 'node:crypto';
import { channel } from 'node:diagnostics_channel';
import { Authorizer } from './authorize.js';
import type { CatalogInput, ServerDefinition } from './catalog/catalog.js';
import { unresolved } from './catalog/interpolate.js';
import { KnownEntries } from './catalog/known-entries.js';
import { resolveCatalog } from './catalog/resolve-catalog.js';
import { CatalogEntry, type EntryEnvironment } from './catalog-entry.js';
import { checkArgument, checkOptions, checkRequest } from './checks/check-options.js';
import { MergedTransport } from './endpoint/merged-transport.js';
import { RequestStates } from './endpoint/modern/request-states.js';
import { createNames, type Names } from './endpoint/names.js';
import { connectEra } from './endpoint/one-server/connect-era.js';
import { PolicyTransport } from './endpoint/policy-transport.js';
import { serveEndpoint } from './endpoint/serve.js';
import { everybody, type GatewaySnapshot, SnapshotStore } from './endpoint/snapshot.js';
import { EntryTable } from './entry-table.js';
import { GatewayError } from './errors.js';
import type { GatewayEvent } from './events.js';
import type {
  FetchOptions,
  Gateway,
  GatewayNames,
  GatewayOptions,
  GatewayTransport,
  MergedOptions,
  ReloadResult,
  ServerCheck,
  ServerConnectOptions,
  ServerDescription,
  StopOptions,
} from './gateway-api.js';
import type { GatewayCatalog } from './gateway-catalog.js';
import { GatewayFetch } from './gateway-fetch.js';
import { resolveLimits } from './gateway-limits.js';
import {
  fetchOptions,
  gatewayOptions,
  mergedOptions,
  serverConnectOptions,
  signalOptions,
  stopOptions,
} from './gateway-options.js';
import { Places } from './instance/limits.js';
import type { ServerStatus } from './instance/server-status.js';
import { callerKey, MergedPeers } from './merged-peers.js';
import { systemClock } from './options.js';
import { type KubernetesRole, toRoles } from './roles.js';
import type { Caller, RuntimeFactory } from './runtime.js';
import { DockerRuntime } from './runtimes/docker.js';
import { InProcessRuntime } from './runtimes/in-process.js';
import { K8sJobRuntime } from './runtimes/k8s-job.js';
import { K8sServiceRuntime } from './runtimes/k8s-service.js';
import { LocalProcessRuntime } from './runtimes/local-process.js';
import { RemoteSseRuntime } from './runtimes/remote-sse.js';
import { isTransport, type Transport } from './sdk.js';
import { eitherSignal } from './util/abort.js';
import { failuresOf, wordsOf } from './util/all-stopped.js';
import { heldOpen } from './util/held-open.js';
import { once } from './util/once.js';
import { formatSize } from './util/quantity.js';
import { tell } from './util/tell.js';
import { Variables } from './variables.js';

const defaultGraceMs = 5_000;
// Where every gateway of the process tells its events too.
const events = channel('open-mcp-gateway');

/**
 * Makes a gateway for the servers of a catalog. Starts nothing.
 *
 * @throws `GatewayError` `CATALOG_INVALID` that lists every problem of the catalog; `OPTION_INVALID`, also on a Node that
 * is too old
 */
export function createGateway<const Runtimes extends readonly RuntimeFactory[] = readonly []>(
  catalog: GatewayCatalog<NoInfer<Runtimes>>,
  options: GatewayOptions<Runtimes> = {},
): Gateway<Runtimes[number]> {
  // npm does no more than warn of an older Node, on which requests would get no answer.
  if (Promise.withResolvers === undefined) {
    throw new GatewayError('OPTION_INVALID', `createGateway: needs Node 22.19 or newer; this is ${process.version}`);
  }
  return new CatalogGateway(catalog as CatalogInput, options);
}

class CatalogGateway implements Gateway {
  readonly #id = randomBytes(6).toString('hex');
  readonly #factories: ReadonlyMap<string, RuntimeFactory>;
  readonly #entries: EntryTable;
  readonly #known = new KnownEntries();
  readonly #options: GatewayOptions;
  readonly names: GatewayNames;
  readonly #names: Names;
  readonly #snapshots: SnapshotStore;
  readonly #states: RequestStates;
  readonly #merged: MergedPeers;
  readonly #fetch: GatewayFetch;
  readonly #peers = new Set<{ end(reason: GatewayError): Promise<void> }>();
  /** Aborted by `close()`. */
  readonly #closed = new AbortController();
  #instances = 0;
  #graceMs = defaultGraceMs;

  constructor(catalog: CatalogInput, options: GatewayOptions) {
    checkOptions('createGateway', gatewayOptions, options);
    this.#options = options;
    const builtins =
      options.builtins === false
        ? []
        : [
            new LocalProcessRuntime(),
            new RemoteSseRuntime(),
            new DockerRuntime(),
            new K8sJobRuntime(),
            new K8sServiceRuntime(),
            new InProcessRuntime(),
          ];
    this.#factories = new Map([...builtins, ...(options.runtimes ?? [])].map((factory) => [factory.type, factory]));
    const definitions = this.#resolve(catalog);
    const env = this.#entryEnvironment();
    this.#entries = new EntryTable((definition) => {
      const factory = this.#factories.get(definition.runtime.type) as RuntimeFactory;
      return new CatalogEntry(definition, factory, env);
    });
    this.#entries.replace(definitions, 0);
    this.#snapshots = new SnapshotStore(options.snapshot);
    const clock = options.clock ?? systemClock;
    this.#states = new RequestStates(clock);
    const names = createNames((id) => this.#entries.has(id), options.names);
    this.#names = names;
    this.#merged = new MergedPeers({
      entries: this.#entries,
      names,
      snapshots: this.#snapshots,
      states: this.#states,
      intercept: options.intercept,
      clock,
      emit: (event) => this.#emit(event),
    });
    this.#fetch = new GatewayFetch({
      clock,
      check: (given) => this.#merged.check(given),
      createModern: (given) => this.#merged.createStateless(given),
      serve: (transport, given) => this.serve(transport, given),
    });
    this.names = {
      tool: (server, name) => names.qualify('tool', server, name),
      prompt: (server, name) => names.qualify('prompt', server, name),
      toolOrigin: (qualified) => names.resolve('tool', qualified),
      promptOrigin: (qualified) => names.resolve('prompt', qualified),
    };
  }

  connect(id: string, options?: ServerConnectOptions): GatewayTransport;
  connect(options?: MergedOptions): GatewayTransport;
  connect(idOrOptions: string | MergedOptions = {}, options: ServerConnectOptions = {}): Transport {
    if (typeof idOrOptions === 'string') {
      checkOptions('connect', serverConnectOptions, options);
      const entry = this.#entries.get(idOrOptions);
      const { caller, era } = options;
      const transport = era === undefined ? entry.connect(caller) : this.#connectEra(entry, era, caller);
      const { id } = entry.definition;
      return new PolicyTransport(transport, {
        server: id,
        caller: caller ?? {},
        tools: () => (this.#entries.has(id) ? this.#entries.get(id) : entry).definition.tools,
        intercept: this.#options.intercept,
      });
    }
    checkOptions('connect', mergedOptions, idOrOptions);
    const transport: MergedTransport = new MergedTransport(
      this.#merged.factory(idOrOptions),
      (closed) => this.#peers.delete(closed),
      () => this.#enter(transport),
    );
    return transport;
  }

  async serve(transport: Transport, options: MergedOptions = {}): Promise<void> {
    this.#refuseWhenClosed();
    checkArgument('serve', isTransport(transport), 'the transport must have start(), send() and close()', transport);
    checkOptions('serve', mergedOptions, options);
    await serveEndpoint(transport, this.#merged.factory(options), this.#peers);
  }

  async fetch(request: Request, options: FetchOptions): Promise<Response> {
    if (this.#closed.signal.aborted) {
      return new Response(null, { status: 503 });
    }
    checkRequest('fetch', request);
    checkOptions('fetch', fetchOptions, options);
    return this.#fetch.fetch(request, options);
  }

  snapshot(): GatewaySnapshot {
    return this.#snapshots.export(everybody);
  }

  async start(id: string): Promise<void> {
    return heldOpen(this.#entries.get(id).supervisor.start());
  }

  async restart(id: string, options: StopOptions = {}): Promise<void> {
    return heldOpen(this.#entries.restart(id, graceOf('restart', options)));
  }

  async stop(id: string, options: StopOptions = {}): Promise<void> {
    return heldOpen(this.#entries.stop(id, graceOf('stop', options)));
  }

  async check(
    id?: string,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<readonly ServerCheck[]> {
    checkOptions('check', signalOptions, options);
    const closed = this.#closed.signal;
    const { signal, release } = eitherSignal(options.signal ?? closed, closed);
    try {
      // Not every runtime looks at it.
      signal.throwIfAborted();
      const entries = id === undefined ? this.#entries.all : [this.#entries.get(id)];
      const checks = entries.map(async ({ definition, supervisor }) => ({
        server: definition.id,
        ...(await supervisor.check(signal)),
      }));
      return await heldOpen(Promise.all(checks));
    } finally {
      release();
    }
  }

  status(): readonly ServerStatus[];
  status(id: string): ServerStatus;
  status(id?: string): ServerStatus | readonly ServerStatus[] {
    return id === undefined ? this.#entries.status() : this.#entries.statusOf(id);
  }

  describe(id: string): ServerDescription {
    return this.#entries.get(id).describe();
  }

  rbac(): readonly KubernetesRole[] {
    const enabled = this.#entries.all.filter(({ definition }) => definition.enabled);
    return toRoles(
      enabled.flatMap(({ definition: { id, env, runtime }, factory }) =>
        factory.rbac === undefined ? [] : factory.rbac(runtime.spec, { server: id, env }),
      ),
    );
  }

  async reload(catalog: GatewayCatalog, options: StopOptions = {}): Promise<ReloadResult> {
    this.#refuseWhenClosed();
    const graceMs = graceOf('reload', options);
    const definitions = this.#resolve(catalog as CatalogInput);
    const before = this.#entries.all;
    const { result, retired } = this.#entries.replace(definitions, graceMs);
    const now = new Set(this.#entries.all);
    const replaced = before.filter((entry) => !now.has(entry)).map(({ definition }) => definition.id);
    this.#snapshots.forget(new Set(replaced));
    this.#names.forget(new Set([...result.removed, ...result.changed]));
    this.#merged.update();
    const failures = failuresOf(await heldOpen(Promise.allSettled(retired)));
    if (failures.length > 0) {
      const message = `the catalog is reloaded, but not all has ended: ${wordsOf(failures)}`;
      throw Object.assign(new AggregateError(failures, message), { result });
    }
    return result;
  }

  async close(options: StopOptions = {}): Promise<void> {
    try {
      this.#graceMs = graceOf('close', options);
    } finally {
      // Whatever the options say, nothing may be left.
      await heldOpen(this.#close());
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  readonly #close = once(async () => {
    // What is asked on would begin anew what is closed here.
    this.#closed.abort(closedError());
    const stopped = await Promise.allSettled(this.#entries.close(this.#graceMs));
    const peers = await Promise.allSettled([
      ...[...this.#peers].map((peer) => peer.end(closedError())),
      this.#fetch.close(closedError()),
      ...this.#entries.closeSessions(closedError()),
    ]);
    const factories = [...this.#factories.values()].map(async (factory) => factory.close?.());
    const closed = await Promise.allSettled(factories);
    const failures = failuresOf([...stopped, ...peers, ...closed]);
    if (failures.length > 0) {
      throw new AggregateError(failures, `closing the gateway failed: ${wordsOf(failures)}`);
    }
  });

  /** A transport to one server whose caller speaks one era. */
  #connectEra(entry: CatalogEntry, era: 'legacy' | 'modern', caller: Caller | undefined): Transport {
    const { id } = entry.definition;
    const transport: MergedTransport = connectEra({
      era,
      clock: this.#options.clock ?? systemClock,
      connections: entry.toConnections(caller),
      states: this.#states,
      isForAll: this.#options.intercept === undefined,
      // No state of the merged peer is good here, nor one of another server.
      caller: JSON.stringify([id, callerKey(caller ?? {})]),
      enter: () => this.#enter(transport),
      onClosed: (closed) => this.#peers.delete(closed),
    });
    return transport;
  }

  #entryEnvironment(): EntryEnvironment {
    const { authorize, clock = systemClock, env, limits, random = Math.random } = this.#options;
    const { starting, instances, memoryBytes } = resolveLimits(limits);
    return {
      gatewayId: this.#id,
      clock,
      random,
      find: (id) => this.#entries.find(id),
      authorizer: new Authorizer(authorize),
      variables: typeof env === 'function' ? new Variables(env) : undefined,
      starting: new Places('limits.starting', starting, clock),
      instances: new Places('limits.instances', instances, clock),
      memory: memoryBytes === undefined ? undefined : new Places('limits.memory', memoryBytes, clock, formatSize),
      nextInstanceId: (server) => {
        this.#instances += 1;
        // Names of containers and Jobs know no capitals and no "_".
        return [this.#id, server.toLowerCase().replaceAll('_', '-'), this.#instances].join('-');
      },
      emit: (event) => this.#emit(event),
    };
  }

  #resolve(catalog: CatalogInput): ServerDefinition[] {
    const { env = process.env } = this.#options;
    return resolveCatalog(catalog, {
      factories: this.#factories,
      env: typeof env === 'function' ? unresolved : env,
      cwd: process.cwd(),
      known: this.#known,
    });
  }

  /** Takes a transport that starts: one that nobody starts is nobody's to end. */
  #enter(transport: MergedTransport): void {
    this.#refuseWhenClosed();
    this.#peers.add(transport);
  }

  #refuseWhenClosed(): void {
    if (this.#closed.signal.aborted) {
      throw closedError();
    }
  }

  #emit(event: GatewayEvent): void {
    tell(() => this.#options.onEvent?.(event));
    // Subscribers throw into their own process, not into ours: Node reports it to the host.
    events.publish(event);
  }
}

function closedError(): GatewayError {
  return new GatewayError('GATEWAY_CLOSED', 'the gateway is closed', { delivered: false });
}

/** @throws `GatewayError` `OPTION_INVALID` */
function graceOf(method: string, options: StopOptions): number {
  checkOptions(method, stopOptions, options);
  return options.graceMs ?? defaultGraceMs;
}
