import { GatewayError } from '../../errors.js';
import { systemClock } from '../../options.js';
import type { Caller, CheckResult, RuntimeContext, RuntimeTransport } from '../../runtime.js';
import type { OAuthClientProvider } from '../../sdk.js';
import { Connections, type TlsOptions } from '../../transport/http/connections.js';
import { findProblem } from '../../transport/http/reachability.js';
import { HttpTransport } from '../../transport/http-transport.js';
import { abortable } from '../../util/abort.js';
import { messageOf } from '../../util/copy-error.js';
import { textOf } from '../../util/text-of.js';
import { createHeaders, type HeadersFunction } from '../shared/http-headers.js';
import { toHttpStartError } from '../shared/http-start.js';
import { tlsOf } from '../shared/tls-of.js';
import { createAuthFetch, judgedLookup } from './auth-fetch.js';
import { Authorizers } from './authorize.js';
import { HeldConnections, type Hold } from './held-connections.js';
import type { RemoteSseSpec } from './spec.js';

/** Settings of a {@link RemoteSseRuntime}. */
export interface RemoteSseOptions {
  /**
   * Headers besides those of the catalog, asked for before each request; they win over the catalog's. Not for
   * `Authorization` where an `authProvider` gives it.
   *
   * @param server - id of the catalog entry
   * @param caller - for whom: with `isolation: principal` only the `principal`, with `shared` undefined
   */
  readonly headers?: HeadersFunction | undefined;
  /**
   * The host's part of OAuth, as the SDK's clients take it. A token that the server refuses is renewed with the SDK's
   * `auth()`, once for all requests that wait for it.
   *
   * @param server - id of the catalog entry
   * @param caller - for whom: with `isolation: principal` only the `principal`, with `shared` undefined
   */
  readonly authProvider?: ((server: string, caller: Caller | undefined) => OAuthClientProvider | undefined) | undefined;
  /**
   * Certificates. A function gives each server its own; it is asked at each start, and sessions that run keep what they
   * began with.
   */
  readonly tls?: TlsOptions | ((server: string) => TlsOptions | undefined) | undefined;
  /**
   * `env` follows `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of this process; `false` goes straight; else the URL of a
   * proxy.
   *
   * @default 'env'
   */
  readonly proxy?: 'env' | false | (string & {}) | undefined;
  /**
   * How long a connection may take to come about, TLS included.
   *
   * @default 10_000
   */
  readonly connectTimeoutMs?: number | undefined;
  /**
   * How long the server may take to answer what needs no work: `initialize`, a notification, the opening of a stream.
   * Other requests have the entry's `request_timeout`, and streams may be silent for ever.
   *
   * @default 60_000
   */
  readonly headersTimeoutMs?: number | undefined;
  /**
   * How many connections to one origin at once. A session may hold one for its stream, so this is a limit of sessions too.
   *
   * @default no limit
   */
  readonly maxConnections?: number | undefined;
}

/** The connections of a `RemoteSseRuntime`. */
export class RemoteSseServers {
  readonly #options: RemoteSseOptions;
  readonly #authorizers = new Authorizers();
  readonly #connections: HeldConnections;

  constructor(options: RemoteSseOptions) {
    this.#options = options;
    const { proxy = 'env', connectTimeoutMs = 10_000, maxConnections } = options;
    this.#connections = new HeldConnections(
      (tls) =>
        Connections.create({
          proxy,
          tls,
          connectTimeoutMs,
          maxConnections,
          lookup: judgedLookup,
          clock: systemClock,
        }),
      systemClock,
    );
  }

  /** Asks whether the address answers. */
  async check(spec: RemoteSseSpec, context: RuntimeContext): Promise<CheckResult> {
    const { server, signal } = context;
    signal.throwIfAborted();
    let release = () => {};
    try {
      const held = this.#hold(server);
      release = held.release;
      const connections = await held.opening;
      // The host may take for ever.
      const headers = await abortable(this.#headersOf(spec, context, connections), signal);
      const how = spec.transport === 'sse' ? 'options' : 'get';
      const problem = await findProblem(new URL(spec.url), headers, how, connections, signal);
      return problem === undefined ? { ok: true, problems: [] } : { ok: false, problems: [problem] };
    } catch (error) {
      signal.throwIfAborted();
      if (!GatewayError.is(error)) throw error;
      return { ok: false, problems: [messageOf(error)] };
    } finally {
      release();
    }
  }

  /**
   * Opens a connection; over HTTP+SSE the session's stream as well.
   *
   * @throws `GatewayError` `START_FAILED` that tells DNS, refusal, time-out and TLS apart; `AUTH_REQUIRED` or `AUTH_FAILED`
   */
  async open(spec: RemoteSseSpec, context: RuntimeContext): Promise<RuntimeTransport> {
    const { server, signal, clock, limits } = context;
    signal.throwIfAborted();
    context.report('starting');
    signal.throwIfAborted();
    const url = new URL(spec.url);
    const { opening, release } = this.#hold(server);
    let transport: HttpTransport | undefined;
    try {
      const connections = await opening;
      signal.throwIfAborted();
      const { dispatcher, judged } = connections;
      const provider = this.#provider(context);
      transport = new HttpTransport({
        server,
        url,
        mode: spec.transport ?? 'auto',
        dispatcher,
        headers: createHeaders(spec.headers, this.#options.headers, context),
        authorizer: this.#authorizers.create(server, url, provider, createAuthFetch(judged)),
        maxMessageBytes: limits.maxMessageBytes,
        clock,
        random: Math.random,
        headersTimeoutMs: this.#options.headersTimeoutMs ?? 60_000,
        onClosed: release,
      });
      // The stream is a connection of its own: another would only wait.
      if (spec.transport === 'sse') await abortable(transport.connect(), signal);
      else await connections.connectAhead(url, signal);
      return transport;
    } catch (error) {
      await transport?.close();
      release();
      signal.throwIfAborted();
      throw toHttpStartError(error, url, server);
    }
  }

  /** Ends every connection. */
  close(): Promise<void> {
    return this.#connections.close();
  }

  #hold(server: string): Hold {
    const { tls } = this.#options;
    const own = tlsOf(tls, server);
    const isOwn = typeof tls === 'function' && own !== undefined;
    const { opening, release } = this.#connections.hold(isOwn ? server : undefined, own);
    return { opening: opening.catch((cause: unknown) => Promise.reject(unusable(cause, server))), release };
  }

  /** What a request brings along that is sent once. */
  async #headersOf(
    spec: RemoteSseSpec,
    context: RuntimeContext,
    { judged }: Connections,
  ): Promise<Readonly<Record<string, string>>> {
    const provider = this.#provider(context);
    const fetchFn = createAuthFetch(judged);
    const token = await this.#authorizers.create(context.server, new URL(spec.url), provider, fetchFn).token();
    return {
      ...(await createHeaders(spec.headers, this.#options.headers, context)()),
      ...(token !== undefined && { authorization: token }),
    };
  }

  #provider({ server, caller }: RuntimeContext): OAuthClientProvider | undefined {
    try {
      return this.#options.authProvider?.(server, caller);
    } catch (cause) {
      const message = 'the authProvider function of the host failed';
      throw new GatewayError('AUTH_FAILED', message, { server, cause, delivered: false });
    }
  }
}

function unusable(cause: unknown, server: string): GatewayError {
  // The error of a URL holds it whole, and with it the credentials for the proxy.
  const isUrl = (cause as NodeJS.ErrnoException).code === 'ERR_INVALID_URL';
  const why = isUrl ? 'the proxy is no valid URL; write it as http://host:port' : textOf(cause);
  return new GatewayError('START_FAILED', `the options tls or proxy cannot be used: ${why}`, {
    server,
    cause: isUrl ? undefined : cause,
    delivered: false,
  });
}
