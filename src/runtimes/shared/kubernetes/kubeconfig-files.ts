import { access, constants, readFile } from 'node:fs/promises';
import { dirname, resolve, sep } from 'node:path';
import type { Cluster, KubeConfig, User } from '@kubernetes/client-node';
import { GatewayError } from '../../../errors.js';
import { type Fields, isFields } from '../../../util/fields.js';
import { clusterExtension, type ToldCluster } from './exec-info.js';
import type { ExecPlugins } from './exec-plugins.js';

/** What stands in a kubeconfig of each user and cluster, in their order, as far as client-node leaves it out. */
interface Written {
  readonly users?: readonly { readonly user?: Fields | null }[] | null;
  readonly clusters?: readonly { readonly cluster?: Fields | null }[] | null;
}

/** Of what client-node leaves out. */
const leftOut = /tokenFile|client\.authentication\.k8s\.io\/exec/;

/** What somebody writes into an environment: YAML, JSON or base64. */
const isNoPath = /\n|^\s*\{\s*"|^.{1000}/;

/**
 * Reads kubeconfigs as kubectl does: of several, those that are missing are left out, and of what stands in more than one the
 * first counts, as does the first current context.
 *
 * @param plugins - gets to know those that are run for it
 * @throws `GatewayError` `START_FAILED` that names the file
 */
export async function loadFiles(
  Config: typeof KubeConfig,
  files: readonly string[],
  plugins: ExecPlugins,
): Promise<KubeConfig> {
  const { default: yaml } = await import('yaml');
  const read = await Promise.allSettled(files.map((file) => readFile(file, 'utf8')));
  const allMissing = read.every(isMissing);
  const parts: KubeConfig[] = [];
  for (const [index, file] of files.entries()) {
    const part = new Config();
    try {
      const found = read[index] as PromiseSettledResult<string>;
      if (found.status === 'fulfilled') {
        const document = yaml.parseDocument(found.value, { merge: true });
        // One that holds nothing, or comments alone, is one as well.
        part.loadFromString(document.contents === null ? '{}' : found.value);
        part.makePathsAbsolute(dirname(file));
        const written = leftOut.test(found.value) ? (document.toJS() as Written) : undefined;
        part.clusters = part
          .getClusters()
          .map((cluster, index) => withExtension(cluster, written?.clusters?.[index]?.cluster));
        part.users = await Promise.all(
          part.getUsers().map((user, index) => complete(user, written?.users?.[index]?.user, dirname(file))),
        );
        parts.push(part);
      } else if (allMissing || !isMissing(found)) {
        throw found.reason;
      }
    } catch (cause) {
      throw isNoPath.test(file)
        ? failed('a kubeconfig itself stands where its path belongs; write it into a file, or give a function')
        : unreadable(`the kubeconfig ${file}`, cause);
    }
  }
  const merged = new Config();
  merged.loadFromOptions({
    clusters: firstOfEach(parts.flatMap((part) => part.getClusters())),
    contexts: firstOfEach(parts.flatMap((part) => part.getContexts())),
    users: firstOfEach(parts.flatMap((part) => part.getUsers())),
    currentContext: parts.map((part) => part.getCurrentContext()).find(Boolean),
  });
  plugins.watch(merged);
  return merged;
}

/** client-node leaves out what kubectl knows of a user: a `tokenFile`, and that a plugin may stand beside the kubeconfig. */
async function complete(user: User, written: Fields | null | undefined, folder: string): Promise<User> {
  const { exec } = user;
  const hasPath = typeof exec?.command === 'string' && exec.command.includes(sep);
  const named = written?.tokenFile;
  const tokenFile = typeof named === 'string' && named !== '' ? resolve(folder, named) : undefined;
  // It comes before a token, which is for when it cannot be read.
  const usesFile = tokenFile !== undefined && (!user.token || (await isReadable(tokenFile)));
  return {
    ...user,
    ...(hasPath && { exec: { ...exec, command: resolve(folder, exec.command) } }),
    ...(usesFile && { token: undefined, authProvider: { name: 'tokenFile', config: { tokenFile } } }),
  } as User;
}

function withExtension(cluster: Cluster, written: Fields | null | undefined): ToldCluster {
  const { extensions } = written ?? {};
  const found = Array.isArray(extensions) && extensions.find((one) => isFields(one) && one.name === clusterExtension);
  return found ? { ...cluster, execConfig: (found as Fields).extension } : cluster;
}

function isReadable(file: string): Promise<boolean> {
  return access(file, constants.R_OK).then(
    () => true,
    () => false,
  );
}

function isMissing(found: PromiseSettledResult<string>): boolean {
  return found.status === 'rejected' && (found.reason as NodeJS.ErrnoException).code === 'ENOENT';
}

function firstOfEach<T extends { readonly name: string }>(all: readonly T[]): T[] {
  return all.filter(({ name }, index) => all.findIndex((other) => other.name === name) === index);
}

/** Says what is wrong with it and nothing of what stands in it, which may be a token in a wrong place. */
export function unreadable(what: string, cause: unknown): GatewayError {
  const { name, mark, code, message } = Object(cause) as Partial<NodeJS.ErrnoException & { mark: YamlMark }>;
  // A parser quotes the lines around a fault, and what is no path may have been taken for one.
  if (name === 'YAMLException') {
    return failed(`${what} is not valid YAML${mark === undefined ? '' : ` (${mark.line + 1}:${mark.column + 1})`}`);
  }
  if (name === 'SyntaxError') return failed(`${what} cannot be parsed`);
  if (code !== undefined) return failed(`${what} cannot be read (${code})`);
  return failed(`${what} cannot be read: ${message ?? String(cause)}`, cause);
}

/** Where the parser of client-node stood, counted from 0. */
interface YamlMark {
  readonly line: number;
  readonly column: number;
}

export function failed(message: string, cause?: unknown): GatewayError {
  return new GatewayError('START_FAILED', message, { cause, delivered: false });
}
