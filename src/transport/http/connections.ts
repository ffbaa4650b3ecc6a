import { X509Certificate } from 'node:crypto';
import type { LookupFunction, Socket } from 'node:net';
import type { SecureContext } from 'node:tls';
import type { Dispatcher } from 'undici';
import type { Clock } from '../../options.js';
import { hostOf } from '../../util/host-of.js';
import { lazyNode } from '../../util/lazy-node.js';
import {
  type Connector,
  type ConnectRequest,
  type Dial,
  dialled,
  type Pending,
  type PendingConnector,
  persistent,
} from './dial.js';
import { loadUndici } from './load.js';

/** Certificates for TLS, as PEM. */
export interface TlsOptions {
  /** Authorities to trust besides those that Node knows. */
  readonly ca?: string | readonly string[] | undefined;
  /** A client's certificate, for servers that ask for one. */
  readonly cert?: string | undefined;
  /** Its key. */
  readonly key?: string | undefined;
  /** What the key is locked with. */
  readonly passphrase?: string | undefined;
}

export interface ConnectionsOptions {
  /** `env` follows HTTP_PROXY, HTTPS_PROXY and NO_PROXY; `false` goes straight; else the URL of a proxy. */
  readonly proxy: 'env' | false | string;
  readonly tls: TlsOptions | undefined;
  readonly connectTimeoutMs: number;
  /** How many connections to one origin at once, streams included; no limit when undefined. */
  readonly maxConnections: number | undefined;
  /** How connections come about, when not by the name in the URL; goes without a proxy. */
  readonly dial?: Dial | undefined;
  /** Looks up the names that `judged` connects to; fails for addresses that are not to be connected to. */
  readonly lookup?: LookupFunction | undefined;
  readonly clock: Clock;
}

/** How long a connection that was opened ahead waits for its first request: less than servers wait. */
const keptMs = 3_000;
/** When a silent connection is asked for a sign of life, so that one whose far end is gone is found out. */
const keepAliveMs = 15_000;
/** How long one address of a name may take when none has answered at once: long enough for a packet to be sent once more. */
const attemptMs = 2_500;

/**
 * How long an idle connection is kept for another request, whatever the server offers: when both sides give one up at the
 * same moment, a request that is on its way fails.
 */
const idleMs = 30_000;

/** The connections of one runtime: shared by its sessions, closed with it. */
export class Connections {
  readonly dispatcher: Dispatcher;
  /** For addresses that others named, with connections of its own. A proxy that leads there looks names up by itself. */
  readonly judged: Dispatcher;
  readonly #connector: PendingConnector;
  readonly #proxied: boolean;
  readonly #clock: Clock;
  readonly #ahead = new Map<string, Set<Socket>>();
  /** What a request waits for. */
  readonly #pending = new Set<Pending>();

  private constructor(
    { proxy, tls, connectTimeoutMs, maxConnections, dial, lookup, clock }: ConnectionsOptions,
    { buildConnector, EnvHttpProxyAgent, Agent, Pool }: Awaited<ReturnType<typeof loadUndici>>,
  ) {
    this.#clock = clock;
    const secureContext = tls && toSecureContext(tls);
    const socket = {
      timeout: connectTimeoutMs,
      keepAliveInitialDelay: keepAliveMs,
      allowH2: false,
      ...(secureContext && { secureContext }),
    };
    const straight = (more: { readonly lookup?: LookupFunction | undefined }) =>
      persistent(
        buildConnector({ ...socket, ...more }),
        buildConnector({ ...socket, ...more, autoSelectFamilyAttemptTimeout: attemptMs }),
      );
    this.#connector =
      dial === undefined ? straight({}) : dialled(buildConnector(socket), dial, connectTimeoutMs, clock);
    const options = {
      allowH2: false,
      keepAliveMaxTimeout: idleMs,
      ...(maxConnections !== undefined && { connections: maxConnections }),
    };
    const { env } = process;
    const fromEnv = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY'].some((name) => env[name]);
    this.#proxied = dial === undefined && (proxy === 'env' ? fromEnv : proxy !== false);
    const tunnel = { keepAliveInitialDelay: keepAliveMs, ...(secureContext && { secureContext }) };
    // Not all goes through a proxy: not what NO_PROXY names, nor http where one is set for https alone.
    const through = (connect: Connector) =>
      this.#proxied
        ? new EnvHttpProxyAgent({
            ...options,
            connect,
            connectTimeout: connectTimeoutMs,
            requestTls: tunnel,
            proxyTls: tunnel,
            // Nothing else bounds how long the proxy may take to lead on.
            clientFactory: (url: URL, given: object) =>
              new Pool(url, { ...given, headersTimeout: Math.ceil(connectTimeoutMs) }),
            ...(proxy !== 'env' && proxy !== false && { httpProxy: proxy, httpsProxy: proxy, noProxy: '' }),
          })
        : new Agent({ ...options, connect });
    this.dispatcher = through((request, callback) => this.#connect(request, callback));
    const judging = straight({ lookup });
    this.judged =
      lookup === undefined ? this.dispatcher : through((request, callback) => this.#begin(judging, request, callback));
  }

  static async create(options: ConnectionsOptions): Promise<Connections> {
    return new Connections(options, await loadUndici());
  }

  /** The same, for those who have undici already. */
  static with(undici: Awaited<ReturnType<typeof loadUndici>>, options: ConnectionsOptions): Connections {
    return new Connections(options, undici);
  }

  /**
   * Opens a connection, TLS included, which the next request to that origin takes. Through a proxy it does nothing: there
   * the first request finds out.
   *
   * @throws what the connection failed with; `signal.reason` once aborted
   */
  async connectAhead(url: URL, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#proxied) return;
    const { host, protocol, port } = url;
    const { promise, resolve, reject } = Promise.withResolvers<Socket>();
    const name = hostOf(url);
    const request = {
      host,
      hostname: name,
      protocol,
      port,
      servername: undefined as unknown as string,
      localAddress: null,
    };
    const pending = this.#connector(request as ConnectRequest, (error, connected) => {
      if (connected === null || connected === undefined) {
        reject(error);
        return;
      }
      // Too late: it was given up, and would be nobody's.
      if (signal.aborted) connected.destroy();
      resolve(connected);
    });
    const abort = () => {
      pending.destroy();
      reject(signal.reason);
    };
    signal.addEventListener('abort', abort, { once: true });
    let socket: Socket;
    try {
      socket = await promise;
    } finally {
      signal.removeEventListener('abort', abort);
    }
    if (signal.aborted) {
      // Given up in the turn in which it came.
      socket.destroy();
      throw signal.reason;
    }
    this.#keep(`${protocol}//${host}`, socket);
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    this.#dropAhead();
    await Promise.all(this.#dispatchers().map((each) => each.destroy()));
    // undici lets what it has begun come to its end.
    for (const pending of this.#pending) pending.destroy();
  }

  /** Takes no more requests, and ends every connection when those under way are answered. */
  async drain(): Promise<void> {
    this.#dropAhead();
    await Promise.all(this.#dispatchers().map((each) => each.close()));
  }

  #dispatchers(): Dispatcher[] {
    return [...new Set([this.dispatcher, this.judged])];
  }

  #dropAhead(): void {
    for (const sockets of this.#ahead.values()) for (const socket of sockets) socket.destroy();
    this.#ahead.clear();
  }

  #keep(origin: string, socket: Socket): void {
    const kept = this.#ahead.get(origin) ?? new Set();
    this.#ahead.set(origin, kept);
    kept.add(socket);
    // Nobody waits for it, so it must not keep the process. A stream that was dialled may not know of that.
    socket.unref?.();
    const timer = this.#clock.setTimeout(() => socket.destroy(), keptMs);
    const forget = () => {
      this.#clock.clearTimeout(timer);
      kept.delete(socket);
      if (kept.size === 0) this.#ahead.delete(origin);
    };
    // Its end, or bytes that nobody asked for: not fit for a request.
    const drop = () => {
      forget();
      socket.destroy();
    };
    socket.once('close', drop).once('readable', drop);
    this.#release.set(socket, () => {
      forget();
      socket.off('close', drop).off('readable', drop);
      socket.ref?.();
    });
  }

  readonly #release = new WeakMap<Socket, () => void>();

  readonly #connect: Connector = (request, callback) => {
    const kept = this.#ahead.get(`${request.protocol}//${request.host}`);
    for (const socket of kept ?? []) {
      this.#release.get(socket)?.();
      if (socket.destroyed || !socket.readable || !socket.writable) continue;
      queueMicrotask(() => callback(null, socket));
      return;
    }
    this.#begin(this.#connector, request, callback);
  };

  #begin(connector: PendingConnector, request: ConnectRequest, callback: Parameters<Connector>[1]): void {
    const pending = connector(request, (...outcome) => {
      this.#pending.delete(pending);
      callback(...outcome);
    });
    this.#pending.add(pending);
  }
}

function toSecureContext({ ca, cert, key, passphrase }: TlsOptions): SecureContext {
  const authorities = ca === undefined || typeof ca !== 'string' ? ca : [ca];
  // OpenSSL leaves out what it cannot read, and then knows no authority.
  for (const pem of authorities ?? []) new X509Certificate(pem);
  const { createSecureContext, getCACertificates } = lazyNode.tls;
  return createSecureContext({
    // Node replaces its own authorities, those of NODE_EXTRA_CA_CERTS among them, by those given.
    ...(authorities !== undefined && { ca: [...getCACertificates('default'), ...authorities] }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(passphrase !== undefined && { passphrase }),
  });
}
