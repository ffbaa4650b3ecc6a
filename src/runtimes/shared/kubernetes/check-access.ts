import type { AccessRule } from '../../../runtime.js';
import type { Cluster } from './cluster.js';
import { grantIt } from './kubernetes-error.js';
import { showResource } from './resources.js';

/**
 * Asks the API server about each verb of each rule.
 *
 * @returns a sentence that names all that is not granted; undefined when nothing is missing
 */
export async function findMissingAccess(
  cluster: Cluster,
  rules: readonly AccessRule[],
  signal: AbortSignal,
): Promise<string | undefined> {
  const reasons = new Set<string>();
  const missing = await Promise.all(
    rules.map(async ({ verbs, namespace, apiGroup, resource: path }) => {
      const [resource = '', subresource] = path.split('/');
      const isRefused = async (verb: string) => {
        const review = { verb, group: apiGroup, resource, subresource, namespace };
        const { allowed, reason } = await cluster.allows(review, { signal });
        if (!allowed && reason !== '') reasons.add(reason);
        return allowed ? [] : [verb];
      };
      const refused = (await Promise.all(verbs.map(isRefused))).flat();
      if (refused.length === 0) return [];
      return [`${refused.join('/')} ${showResource({ group: apiGroup, version: '', resource, subresource })}`];
    }),
  );
  const all = missing.flat();
  if (all.length === 0) return undefined;
  const why = reasons.size === 0 ? '' : ` (${[...reasons].join('; ')})`;
  // All rules of an entry are of one namespace.
  return `may not ${all.join(', ')} in namespace "${rules[0]?.namespace}"${why}; ${grantIt}`;
}
