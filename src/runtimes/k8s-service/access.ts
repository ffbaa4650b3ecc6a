import type { AccessRule } from '../../runtime.js';
import type { K8sServiceSpec } from './spec.js';

/** What an entry needs to be allowed, each verb because something here uses it. */
export function accessRules({ namespace, context, reach }: K8sServiceSpec): readonly AccessRule[] {
  const rule = (apiGroup: string, resource: string, ...verbs: readonly string[]): AccessRule => ({
    context,
    namespace,
    apiGroup,
    resource,
    verbs,
  });
  return [
    rule('', 'services', 'get'),
    rule('discovery.k8s.io', 'endpointslices', 'list', 'watch'),
    // A WebSocket begins as a GET; newer API servers ask for `create` as well.
    ...(reach === 'dns' ? [] : [rule('', 'pods/portforward', 'get', 'create')]),
  ];
}
