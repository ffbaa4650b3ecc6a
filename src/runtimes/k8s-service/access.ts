import type { AccessRule } from '../../runtime.js';
import { rulesFor } from '../shared/kubernetes/access-rules.js';
import type { K8sServiceSpec } from './spec.js';

/** What an entry needs to be allowed, each verb because something here uses it. */
export function accessRules(spec: K8sServiceSpec): readonly AccessRule[] {
  const rule = rulesFor(spec);
  return [
    rule('', 'services', 'get'),
    rule('discovery.k8s.io', 'endpointslices', 'list', 'watch'),
    // A WebSocket begins as a GET; newer API servers ask for `create` as well.
    ...(spec.reach === 'dns' ? [] : [rule('', 'pods/portforward', 'get', 'create')]),
  ];
}
