import { GatewayError } from '../../errors.js';
import { systemClock } from '../../options.js';
import type { CheckResult, RuntimeContext, RuntimeTransport } from '../../runtime.js';
import { Connections, type TlsOptions } from '../../transport/http/connections.js';
import type { Authorizer } from '../../transport/http/exchange.js';
import { loadUndici } from '../../transport/http/load.js';
import { abortable } from '../../util/abort.js';
import { messageOf } from '../../util/copy-error.js';
import { createHeaders, type HeadersFunction } from '../shared/http-headers.js';
import { toHttpStartError } from '../shared/http-start.js';
import { findMissingAccess } from '../shared/kubernetes/check-access.js';
import { Clusters } from '../shared/kubernetes/clusters.js';
import type { KubernetesOptions } from '../shared/kubernetes/kube-config.js';
import { KubernetesError } from '../shared/kubernetes/kubernetes-error.js';
import { fingerprintOf } from '../shared/tls-fingerprint.js';
import { tlsOf } from '../shared/tls-of.js';
import { accessRules } from './access.js';
import { askServer, findServiceProblem } from './check.js';
import type { Link } from './link.js';
import { Links } from './links.js';
import { findReach, openLink } from './open-link.js';
import { ServiceSession } from './session.js';
import { type K8sServiceSpec, serviceUrl } from './spec.js';
import type { Guest, Target } from './target.js';

/** Settings of a {@link K8sServiceRuntime}. */
export interface K8sServiceOptions extends KubernetesOptions {
  /**
   * Headers besides those of the catalog, asked for before each request; they win over the catalog's.
   *
   * @param server - id of the catalog entry
   * @param caller - for whom: with `isolation: principal` only the `principal`, with `shared` undefined
   */
  readonly headers?: HeadersFunction | undefined;
  /**
   * Certificates for services whose scheme is https. A function gives each server its own; it is asked at each start, and
   * sessions that run keep what they began with.
   */
  readonly tls?: TlsOptions | ((server: string) => TlsOptions | undefined) | undefined;
  /**
   * How long a connection to a pod may take to come about, TLS included.
   *
   * @default 10_000
   */
  readonly connectTimeoutMs?: number | undefined;
  /**
   * As for `remote-sse`: how long the server may take to answer what needs no work.
   *
   * @default 60_000
   */
  readonly headersTimeoutMs?: number | undefined;
  /**
   * How long a new session waits for a pod to become ready, where none is.
   *
   * @default 10_000
   */
  readonly readyTimeoutMs?: number | undefined;
}

/** The connections of a `K8sServiceRuntime`, and the clusters that they lead to. */
export class K8sServiceServers {
  readonly #options: K8sServiceOptions;
  readonly #clusters: Clusters;
  readonly #links = new Links(systemClock);

  constructor(options: K8sServiceOptions) {
    this.#options = options;
    this.#clusters = new Clusters(options);
  }

  /** Asks for access, for the service and a ready pod, and whether a server answers there. */
  async check(spec: K8sServiceSpec, context: RuntimeContext): Promise<CheckResult> {
    const { server, signal } = context;
    signal.throwIfAborted();
    let release = () => {};
    try {
      const { way, cluster } = await abortable(findReach(spec, this.#clusters), signal);
      // In the cluster there is a way without any right.
      if (way === 'port-forward') {
        const missing = await findMissingAccess(cluster, accessRules({ ...spec, reach: way }), signal);
        if (missing !== undefined) return { ok: false, problems: [missing] };
        const problem = await findServiceProblem(cluster, spec, server, signal);
        if (problem !== undefined) return { ok: false, problems: [problem] };
      }
      // The host may take for ever.
      const given = Promise.resolve(createHeaders(spec.headers, this.#options.headers, context)());
      const headers = await abortable(given, signal);
      const held = this.#hold(spec, server);
      release = held.release;
      return await askServer(await abortable(held.opening, signal), spec, headers, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (GatewayError.is(error)) return { ok: false, problems: [messageOf(error)] };
      if (error instanceof KubernetesError) return { ok: false, problems: [error.message] };
      throw error;
    } finally {
      release();
    }
  }

  /**
   * Connects to a ready pod.
   *
   * @throws `GatewayError` `START_FAILED` that says what is missing: access, service, port, a ready pod
   */
  async open(spec: K8sServiceSpec, context: RuntimeContext): Promise<RuntimeTransport> {
    const { server, signal } = context;
    signal.throwIfAborted();
    context.report('starting');
    signal.throwIfAborted();
    const { opening, release } = this.#hold(spec, server);
    try {
      const link = await abortable(opening, signal);
      const url = serviceUrl(spec, link.port);
      const place: Guest = { leave() {} };
      const target = await connect(link, url, place, context);
      const session = this.#session(spec, url, context, link, target, release);
      target.exit(place);
      try {
        if (spec.transport === 'sse') await abortable(session.connect(), signal);
        return session;
      } catch (error) {
        await session.close();
        throw signal.aborted ? error : toHttpStartError(error, url, server);
      }
    } catch (error) {
      release();
      signal.throwIfAborted();
      throw withServer(error, server);
    }
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    await this.#links.close();
    await this.#clusters.close();
  }

  #hold(spec: K8sServiceSpec, server: string) {
    const { namespace, service_name, port, scheme, reach, context } = spec;
    const { tls, connectTimeoutMs = 10_000, readyTimeoutMs = 10_000 } = this.#options;
    const own = tlsOf(tls, server);
    const key = JSON.stringify([server, namespace, service_name, port, scheme, reach, context, fingerprintOf(own)]);
    return this.#links.hold(key, async (signal) => {
      const undici = await loadUndici();
      const options = {
        tls: own,
        connectTimeoutMs,
        proxy: false,
        maxConnections: undefined,
        clock: systemClock,
      } as const;
      // Certificates that cannot be read are found out now, not when the first pod shows up.
      await Connections.with(undici, options).close();
      return openLink(
        {
          server,
          spec,
          toConnections: (dial) => Connections.with(undici, { ...options, dial }),
          random: Math.random,
          readyTimeoutMs,
          clock: systemClock,
        },
        this.#clusters,
        signal,
      );
    });
  }

  #session(spec: K8sServiceSpec, url: URL, context: RuntimeContext, link: Link, target: Target, onClosed: () => void) {
    const { server, clock, limits } = context;
    return new ServiceSession(
      {
        server,
        url,
        service: `service "${spec.service_name}" in namespace "${spec.namespace}"`,
        mode: spec.transport ?? 'auto',
        headers: createHeaders(spec.headers, this.#options.headers, context),
        authorizer: withoutAuthorization(server),
        maxMessageBytes: limits.maxMessageBytes,
        clock,
        random: Math.random,
        headersTimeoutMs: this.#options.headersTimeoutMs ?? 60_000,
        onClosed,
      },
      link,
      target,
    );
  }
}

/** Opens a connection that the session will use, to the first pod that takes it, and puts `place` there. */
async function connect(link: Link, url: URL, place: Guest, { server, signal }: RuntimeContext): Promise<Target> {
  const tried = new Set<Target>();
  let last: unknown;
  for (;;) {
    const target = await link.take(tried, place, signal);
    if (target === undefined) throw toHttpStartError(last, url, server);
    try {
      await target.connectAhead(url, signal);
      return target;
    } catch (error) {
      target.exit(place);
      signal.throwIfAborted();
      tried.add(target);
      last = error;
    }
  }
}

/** There is no OAuth here: whoever may come in has a header that says so. */
function withoutAuthorization(server: string): Authorizer {
  return {
    token: async () => undefined,
    refused: async ({ status }, step) => {
      const message = `${step}: the server asks for authorization (HTTP ${status}); set headers.Authorization`;
      throw new GatewayError('AUTH_REQUIRED', message, { server, status, delivered: false });
    },
  };
}

/** What was found out for all who wait is told to each of them by the name of the entry. */
function withServer(error: unknown, server: string): unknown {
  if (!GatewayError.is(error) || error.server !== undefined) return error;
  const { cause, status, delivered } = error;
  return new GatewayError(error.code, error.message, { server, cause, status, delivered });
}
