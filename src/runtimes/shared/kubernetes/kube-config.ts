import { access, readFile } from 'node:fs/promises';
import { homedir, hostname } from 'node:os';
import { delimiter, join } from 'node:path';
import { GatewayError } from '../../../errors.js';

/** The part of `KubeConfig` of `@kubernetes/client-node` that we call. */
export interface KubeConfigLike {
  getContexts(): readonly { readonly name: string; readonly namespace?: string }[];
  getCurrentContext(): string;
  setCurrentContext(name: string): void;
  getCurrentCluster(): { readonly server: string; readonly proxyUrl?: string } | null;
  /** Adds TLS settings, headers and an agent to the options of a request of `node:https`. */
  applyToHTTPSOptions(options: object): Promise<void>;
}

/** How a runtime gets to its clusters. */
export interface KubernetesOptions {
  /**
   * The path of a kubeconfig, or a function that makes a `KubeConfig` of `@kubernetes/client-node`; called once for each
   * context, and again when the API server does not accept its credentials.
   *
   * @default the files in KUBECONFIG, else ~/.kube/config, else what Kubernetes gives to a pod
   */
  readonly kubeconfig?: string | (() => KubeConfigLike | Promise<KubeConfigLike>) | undefined;
}

export interface LoadedConfig {
  readonly config: KubeConfigLike;
  readonly namespace: string;
  readonly pod: { readonly namespace: string; readonly name: string } | undefined;
}

const accountDir = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * Reads the configuration and selects `context` in it.
 *
 * @throws `GatewayError` `START_FAILED` that says what is missing
 */
export async function loadKubeConfig(
  { kubeconfig }: KubernetesOptions,
  context: string | undefined,
): Promise<LoadedConfig> {
  let config: KubeConfigLike;
  let inPod = false;
  try {
    if (typeof kubeconfig === 'function') {
      config = await kubeconfig();
    } else {
      const KubeConfig = await importKubeConfig();
      const made = new KubeConfig();
      const found = kubeconfig ?? (await findKubeConfig());
      if (found === undefined) {
        made.loadFromCluster();
        inPod = true;
      } else if (found === 'default') {
        made.loadFromDefault();
      } else {
        made.loadFromFile(found);
      }
      config = made;
    }
  } catch (cause) {
    if (GatewayError.is(cause)) throw cause;
    throw unreadable(kubeconfig, cause);
  }
  select(config, context);
  const name = config.getCurrentContext();
  const namespace = config
    .getContexts()
    .find((known) => known.name === name)
    ?.namespace?.trim();
  const pod = inPod ? await ownPod() : undefined;
  return { config, namespace: namespace || 'default', pod };
}

/** Says what is wrong with it and nothing of what stands in it, which may be a token in a wrong place. */
function unreadable(kubeconfig: KubernetesOptions['kubeconfig'], cause: unknown): GatewayError {
  const file = kubeconfig ?? process.env.KUBECONFIG;
  const what = typeof file === 'string' && file !== '' ? `the kubeconfig ${file}` : 'the kubeconfig';
  const { name, mark, code, message } = Object(cause) as Partial<NodeJS.ErrnoException & { mark: YamlMark }>;
  // A parser quotes the lines around a fault, and what is no path may have been taken for one.
  if (name === 'YAMLException') {
    return failed(`${what} is not valid YAML${mark === undefined ? '' : ` (${mark.line + 1}:${mark.column + 1})`}`);
  }
  if (cause instanceof SyntaxError) return failed(`${what} cannot be parsed`);
  if (code !== undefined) return failed(`${what} cannot be read (${code})`);
  return failed(`${what} cannot be read: ${message ?? String(cause)}`, cause);
}

/** Where the parser of client-node stood, counted from 0. */
interface YamlMark {
  readonly line: number;
  readonly column: number;
}

function select(config: KubeConfigLike, context: string | undefined): void {
  if (context !== undefined) {
    const names = config.getContexts().map(({ name }) => name);
    if (!names.includes(context)) {
      throw failed(`the kubeconfig has no context "${context}"; it has: ${names.join(', ') || 'none'}`);
    }
    config.setCurrentContext(context);
  }
  if (config.getCurrentCluster() === null) {
    const remedy = 'set current-context in it, or name a context in the catalog (context)';
    throw failed(`the kubeconfig names no cluster for its current context; ${remedy}`);
  }
}

async function importKubeConfig() {
  try {
    const { KubeConfig } = await import('@kubernetes/client-node');
    return KubeConfig;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const missing = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND';
    const text = missing
      ? 'the Kubernetes runtimes need the package @kubernetes/client-node; install it: npm install @kubernetes/client-node'
      : `the package @kubernetes/client-node cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`;
    throw failed(text, cause);
  }
}

/** `default` for what client-node finds by itself, undefined for a pod's own. */
async function findKubeConfig(): Promise<'default' | undefined> {
  const files = (process.env.KUBECONFIG ?? '').split(delimiter).filter((file) => file !== '');
  if (files.length > 0 || (await exists(join(homedir(), '.kube', 'config')))) return 'default';
  if (process.env.KUBERNETES_SERVICE_HOST !== undefined && (await exists(join(accountDir, 'token')))) return undefined;
  throw failed(
    'there is no kubeconfig: set KUBECONFIG, write ~/.kube/config, or run in a pod that has a service account token',
  );
}

async function ownPod(): Promise<LoadedConfig['pod']> {
  const namespace = await readFile(join(accountDir, 'namespace'), 'utf8').catch(() => '');
  return namespace.trim() === ''
    ? undefined
    : { namespace: namespace.trim(), name: process.env.POD_NAME ?? hostname() };
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function failed(message: string, cause?: unknown): GatewayError {
  return new GatewayError('START_FAILED', message, { cause, delivered: false });
}
