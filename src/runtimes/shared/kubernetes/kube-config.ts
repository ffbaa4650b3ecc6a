import { access, readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { delimiter, join } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';
import { GatewayError } from '../../../errors.js';
import { homeFolder } from '../../../util/home-folder.js';
import { textOf } from '../../../util/text-of.js';
import { tellPlugin } from './exec-info.js';
import type { ExecPlugins } from './exec-plugins.js';
import { failed, loadFiles, unreadable } from './kubeconfig-files.js';

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
  readonly pod: { readonly namespace: string; readonly name: string } | undefined;
}

const accountDir = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * Reads the configuration and selects `context` in it.
 *
 * @param plugins - gets to know those that are run for it
 * @throws `GatewayError` `START_FAILED` that says what is missing
 */
export async function loadKubeConfig(
  { kubeconfig }: KubernetesOptions,
  context: string | undefined,
  plugins: ExecPlugins,
): Promise<LoadedConfig> {
  let config: KubeConfigLike;
  let read: KubeConfig | undefined;
  let inPod = false;
  try {
    if (typeof kubeconfig === 'function') {
      config = await kubeconfig();
    } else {
      const KubeConfig = await importKubeConfig();
      const files = kubeconfig === undefined ? await findFiles() : [kubeconfig];
      if (files === undefined) {
        const made = new KubeConfig();
        made.loadFromCluster();
        config = made;
        inPod = true;
      } else {
        read = await loadFiles(KubeConfig, files, plugins);
        config = read;
      }
    }
  } catch (cause) {
    throw GatewayError.is(cause) ? cause : unreadable('the kubeconfig', cause);
  }
  select(config, context);
  if (read !== undefined) await tellPlugin(read);
  return { config, pod: inPod ? await ownPod() : undefined };
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
      : `the package @kubernetes/client-node cannot be loaded: ${textOf(cause)}`;
    throw failed(text, cause);
  }
}

/** Where kubectl looks for it; undefined for a pod's own. */
async function findFiles(): Promise<readonly string[] | undefined> {
  const named = (process.env.KUBECONFIG ?? '').split(delimiter).filter((file) => file !== '');
  if (named.length > 0) return named;
  for (const home of homes()) {
    const usual = join(home, '.kube', 'config');
    if (await exists(usual)) return [usual];
  }
  if (process.env.KUBERNETES_SERVICE_HOST !== undefined && (await exists(join(accountDir, 'token')))) return undefined;
  throw failed(
    'there is no kubeconfig: set KUBECONFIG, write ~/.kube/config, or run in a pod that has a service account token',
  );
}

/** On Windows the user's own may be on another drive, or be what a shell calls so. */
function homes(): readonly string[] {
  const { HOME = '', HOMEDRIVE = '', HOMEPATH = '' } = process.env;
  const others = process.platform === 'win32' ? [HOME, HOMEDRIVE && HOMEPATH && HOMEDRIVE + HOMEPATH] : [];
  return [...others.filter((home) => home !== ''), homeFolder()];
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
