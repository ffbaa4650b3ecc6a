import type { AccessRule } from './runtime.js';

/** A Role of Kubernetes, ready to be applied. */
export interface KubernetesRole {
  readonly apiVersion: 'rbac.authorization.k8s.io/v1';
  readonly kind: 'Role';
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    /** `open-mcp-gateway/context` names the context of the kubeconfig, where entries name one. */
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly rules: readonly {
    readonly apiGroups: readonly string[];
    readonly resources: readonly string[];
    readonly verbs: readonly string[];
  }[];
}

/** The smallest Roles that grant all `rules`: one for each namespace of each cluster. */
export function toRoles(rules: readonly AccessRule[]): readonly KubernetesRole[] {
  const places = Map.groupBy(rules, ({ context, namespace }) => JSON.stringify([context ?? null, namespace]));
  return [...places.values()].flatMap((granted) => {
    const [first] = granted;
    if (first === undefined) return [];
    const { context, namespace } = first;
    return {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'Role',
      metadata: {
        name: 'open-mcp-gateway',
        namespace,
        ...(context !== undefined && { annotations: { 'open-mcp-gateway/context': context } }),
      },
      rules: mergeRules(granted),
    };
  });
}

function mergeRules(rules: readonly AccessRule[]): KubernetesRole['rules'] {
  const byResource = Map.groupBy(rules, ({ apiGroup, resource }) => JSON.stringify([apiGroup, resource]));
  return [...byResource.values()].flatMap((same) => {
    const [first] = same;
    if (first === undefined) return [];
    const verbs = [...new Set(same.flatMap((rule) => rule.verbs))];
    return { apiGroups: [first.apiGroup], resources: [first.resource], verbs };
  });
}
