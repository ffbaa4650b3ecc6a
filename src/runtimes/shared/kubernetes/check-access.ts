import type { AccessRule } from '../../../runtime.js';
import type { Cluster } from './cluster.js';
import { grantIt } from './kubernetes-error.js';
import { showResource } from './resources.js';

/**
 * Asks the API server about each verb of each rule.
 *
 * @returns a sentence for each that is not granted
 */
export async function findMissingAccess(
  cluster: Cluster,
  rules: readonly AccessRule[],
  signal: AbortSignal,
): Promise<readonly string[]> {
  const asked = rules.flatMap((rule) => rule.verbs.map((verb) => ({ ...rule, verb })));
  const answers = await Promise.all(
    asked.map(async ({ verb, namespace, apiGroup, resource: path }) => {
      const [resource = '', subresource] = path.split('/');
      const review = { verb, group: apiGroup, resource, subresource, namespace };
      const { allowed, reason } = await cluster.allows(review, { signal });
      if (allowed) return [];
      const what = showResource({ group: apiGroup, version: '', resource, subresource, namespace });
      const why = reason === '' ? '' : ` (${reason})`;
      return [`may not ${verb} ${what}${why}; ${grantIt}`];
    }),
  );
  return answers.flat();
}
