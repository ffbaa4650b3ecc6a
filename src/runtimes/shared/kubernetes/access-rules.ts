import type { AccessRule } from '../../../runtime.js';

/** What makes the rules of an entry: all are for its namespace, as its context knows that. */
export function rulesFor({
  namespace,
  context,
}: {
  readonly namespace: string;
  readonly context?: string | undefined;
}): (apiGroup: string, resource: string, ...verbs: readonly string[]) => AccessRule {
  return (apiGroup, resource, ...verbs) => ({ context, namespace, apiGroup, resource, verbs });
}
