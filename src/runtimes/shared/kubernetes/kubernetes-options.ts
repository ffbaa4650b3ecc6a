import * as v from 'valibot';
import { isFunction } from '../../../checks/check-options.js';
import type { Schemas } from '../../../checks/option-kinds.js';
import type { KubernetesOptions } from './kube-config.js';

/** The options of every runtime of Kubernetes. */
export const kubernetesOptions = {
  kubeconfig: v.optional(v.union([v.string(), v.custom(isFunction)], 'must be a string or a function')),
} satisfies Schemas<KubernetesOptions>;
