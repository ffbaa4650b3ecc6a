import type { Agent } from 'node:http';
import type { RequestOptions } from 'node:https';
import type { Clock } from '../../../options.js';
import { abortable } from '../../../util/abort.js';
import { lazyNode } from '../../../util/lazy-node.js';
import { textOf } from '../../../util/text-of.js';
import { ExecPlugins } from './exec-plugins.js';
import { type KubernetesOptions, type LoadedConfig, loadKubeConfig } from './kube-config.js';
import { KubernetesError } from './kubernetes-error.js';

/** When a silent connection is asked for a sign of life, so that one whose far end is gone is found out. */
const keepAliveMs = 15_000;
/** How long an exec plugin may take. Less than a call, whose error is to say what it has waited for. */
const credentialsMs = 20_000;
/** How long after one that has not answered no other is asked. */
const pauseMs = 30_000;
/** How long a person may take to log in with one, before it is ended when another is asked. */
const loginMs = 300_000;

/** Knows where the API server is and who we are: the settings of every request and WebSocket. */
export class Connection {
  readonly #options: KubernetesOptions;
  readonly #context: string | undefined;
  readonly #clock: Clock;
  readonly #plugins: ExecPlugins;
  #loaded: LoadedConfig;
  #reloading: Promise<void> | undefined;
  #asking: Promise<RequestOptions> | undefined;
  #agent: { readonly key: string; readonly agent: Agent } | undefined;
  #isClosed = false;

  private constructor(
    options: KubernetesOptions,
    context: string | undefined,
    clock: Clock,
    plugins: ExecPlugins,
    loaded: LoadedConfig,
  ) {
    this.#options = options;
    this.#context = context;
    this.#clock = clock;
    this.#plugins = plugins;
    this.#loaded = loaded;
  }

  static async open(options: KubernetesOptions, context: string | undefined, clock: Clock): Promise<Connection> {
    const plugins = new ExecPlugins(clock);
    return new Connection(options, context, clock, plugins, await loadKubeConfig(options, context, plugins));
  }

  get loaded(): LoadedConfig {
    return this.#loaded;
  }

  get #address(): string {
    return this.#loaded.config.getCurrentCluster()?.server ?? '';
  }

  /** The address of the API server, which may have a path; without a name and password that may stand in it. */
  get server(): string {
    // As a URL is read, which needs no slashes, or takes others.
    return this.#address.replace(/^([^/?#@:]*:[\\/]*)[^\\/?#]*@/, '$1');
  }

  url(path: string, query: Readonly<Record<string, string | readonly string[]>> = {}): URL {
    const url = URL.parse(`${this.#address.replace(/\/+$/, '')}/${path}`);
    // The error of a constructor holds it whole.
    if (url === null) throw new KubernetesError('invalid', 'the address of the API server in the kubeconfig is no URL');
    for (const [name, value] of Object.entries(query)) {
      for (const one of typeof value === 'string' ? [value] : value) url.searchParams.append(name, one);
    }
    return url;
  }

  /** TLS, credentials and agent for one request. May run an exec plugin: once for all who ask at a time. */
  settings(signal: AbortSignal): Promise<RequestOptions> {
    this.#asking ??= this.#askInTime();
    return abortable(this.#asking, signal);
  }

  /** One that comes too late to be waited for still counts as asked: another one would have to wait as long. */
  #askInTime(): Promise<RequestOptions> {
    const { promise, resolve, reject } = Promise.withResolvers<RequestOptions>();
    const forget = () => {
      if (this.#asking === promise) this.#asking = undefined;
    };
    const late = () => {
      reject(noCredentials(`its exec plugin has not answered for ${credentialsMs / 1000} s`));
      // After a pause another one may: each is a process that may hang as well.
      this.#clock.setTimeout(forget, pauseMs);
    };
    this.#plugins.end(loginMs);
    const timer = this.#clock.setTimeout(late, credentialsMs);
    void this.#ask()
      .then(resolve, reject)
      .finally(() => {
        this.#clock.clearTimeout(timer);
        forget();
      });
    return promise;
  }

  async #ask(): Promise<RequestOptions> {
    const { config } = this.#loaded;
    const settings: RequestOptions & { headers?: { Authorization?: string } } = {};
    try {
      await config.applyToHTTPSOptions(settings);
    } catch (cause) {
      const secret = explainSecretly(cause);
      throw secret === undefined ? noCredentials(messageOf(cause), cause) : noCredentials(secret);
    }
    const { headers } = settings;
    // A file that holds a token ends with a newline, which no header may hold.
    if (headers?.Authorization !== undefined) headers.Authorization = headers.Authorization.trim();
    // client-node makes an agent that opens a connection for each request; through a proxy only its own knows the way.
    if (config.getCurrentCluster()?.proxyUrl === undefined) settings.agent = this.#agentFor(settings);
    return settings;
  }

  /** Reads the configuration anew: certificates and tokens may have been renewed. Once for all who ask at a time. */
  reload(signal: AbortSignal): Promise<void> {
    this.#reloading ??= loadKubeConfig(this.#options, this.#context, this.#plugins)
      .then(
        (loaded) => {
          this.#loaded = loaded;
          this.#asking = undefined;
        },
        (cause: unknown) => {
          const why = textOf(cause);
          throw new KubernetesError(
            'unauthorized',
            `the API server does not accept the credentials (401), and ${why}`,
            {
              cause,
            },
          );
        },
      )
      .finally(() => {
        this.#reloading = undefined;
      });
    return abortable(this.#reloading, signal);
  }

  close(): void {
    this.#isClosed = true;
    this.#plugins.end(0);
    if (this.#agent !== undefined) {
      // What has got it already, and has not asked yet, must not leave a connection behind.
      retire(this.#agent.agent);
      this.#agent.agent.destroy();
    }
    this.#agent = undefined;
  }

  #agentFor({ ca, cert, key }: RequestOptions): Agent {
    const identity = [this.server, ca, cert, key].map(String).join('\n');
    if (this.#agent?.key !== identity) {
      if (this.#agent !== undefined) retire(this.#agent.agent);
      // What still asks, such as a look that was going on, must not leave a connection behind.
      const options = { keepAlive: !this.#isClosed, keepAliveMsecs: keepAliveMs };
      const { http, https } = lazyNode;
      const agent = this.server.startsWith('http:') ? new http.Agent(options) : new https.Agent(options);
      this.#agent = { key: identity, agent };
    }
    return this.#agent.agent;
  }
}

/** Ends the connections that nobody uses, and the others when their calls have ended. */
function retire(agent: Agent): void {
  agent.maxFreeSockets = 0;
  for (const socket of Object.values(agent.freeSockets).flat()) socket?.destroy();
}

/** Of an error that may quote a secret: what could not be parsed, or what was put where a path or a URL belongs. */
function explainSecretly(cause: unknown): string | undefined {
  const { name, code, syscall } = Object(cause) as Partial<NodeJS.ErrnoException>;
  if (code === 'ERR_INVALID_URL') {
    return 'its proxy-url is no URL: write it such as "http://proxy.example.com:3128"';
  }
  if (name === 'SyntaxError' || name === 'TypeError') {
    return 'its exec plugin answered with what is no ExecCredential';
  }
  return syscall === 'open' || syscall === 'read'
    ? `a file that it names cannot be read (${code}): check its certificate-authority, client-certificate, client-key and tokenFile`
    : undefined;
}

function noCredentials(why: string, cause?: unknown): KubernetesError {
  return new KubernetesError('unauthorized', `the kubeconfig gives no credentials: ${why}`, { cause });
}

function messageOf(cause: unknown): string {
  return textOf(cause).trim().slice(0, 500);
}
