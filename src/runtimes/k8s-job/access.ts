import type { AccessRule } from '../../runtime.js';
import { rulesFor } from '../shared/kubernetes/access-rules.js';
import type { K8sJobSpec } from './spec-types.js';

/** What an entry needs to be allowed, each verb because something here uses it. */
export function accessRules(spec: K8sJobSpec, hasEnv: boolean): readonly AccessRule[] {
  const rule = rulesFor(spec);
  return [
    rule('batch', 'jobs', 'create', 'get', 'list', 'delete'),
    rule('', 'pods', 'get', 'list', 'watch'),
    // A WebSocket begins as a GET; newer API servers ask for `create` as well.
    rule('', 'pods/attach', 'get', 'create'),
    rule('', 'pods/log', 'get'),
    rule('', 'events', 'list'),
    ...(hasEnv ? [rule('', 'secrets', 'create')] : []),
    rule('coordination.k8s.io', 'leases', 'create', 'patch', 'list', 'delete'),
  ];
}
