import * as v from 'valibot';
import { argsSchema, durationSchema, textSchema } from '../shared/spec-parts.js';
import { findQuantityProblem, parseKubernetesQuantity } from './quantity.js';
import type { K8sJobSpec } from './spec-types.js';

const name = (what: string) =>
  v.pipe(
    textSchema,
    v.regex(
      /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/,
      `is not the name of ${what}: lower case letters, digits, "-" and "."`,
    ),
  );

const namespace = v.pipe(
  textSchema,
  v.regex(
    /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/,
    'is not a namespace: at most 63 lower case letters, digits and "-", a letter or digit at either end',
  ),
);

const amounts = v.pipe(
  v.record(
    v.pipe(
      v.string(),
      v.regex(/^(?:[-a-z0-9.]+\/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?$/, 'is not the name of a resource'),
    ),
    v.string(),
  ),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    for (const [resource, value] of Object.entries(dataset.value)) {
      const message = findQuantityProblem(resource, value);
      if (message !== undefined) {
        const path = { type: 'object', origin: 'value', input: dataset.value, key: resource, value } as const;
        addIssue({ message, path: [path] });
      }
    }
  }),
);

const resources = v.pipe(
  v.strictObject({ requests: v.optional(amounts), limits: v.optional(amounts) }),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const { requests = {}, limits = {} } = dataset.value;
    for (const [resource, request] of Object.entries(requests)) {
      const limit = limits[resource];
      const wanted = parseKubernetesQuantity(request);
      const most = limit === undefined ? undefined : parseKubernetesQuantity(limit);
      if (wanted !== undefined && most !== undefined && wanted > most) {
        addIssue({ message: `asks for ${request} of ${resource}, which is above its limit of ${limit}` });
      }
    }
  }),
);

const envFrom = v.pipe(
  v.strictObject({
    secret: v.optional(name('a Secret')),
    config_map: v.optional(name('a ConfigMap')),
    prefix: v.optional(textSchema),
    optional: v.optional(v.boolean()),
  }),
  v.check(
    ({ secret, config_map }) => (secret === undefined) !== (config_map === undefined),
    'must name either a secret or a config_map',
  ),
);

const toleration = v.strictObject({
  key: v.optional(textSchema),
  operator: v.optional(v.picklist(['Exists', 'Equal'])),
  value: v.optional(v.string()),
  effect: v.optional(v.picklist(['NoSchedule', 'PreferNoSchedule', 'NoExecute'])),
  toleration_seconds: v.optional(v.pipe(v.number(), v.safeInteger())),
});

/** A part of a pod in Kubernetes' own form, of which only a field that has more put into it is looked at. */
const podPart = (field: string, fits: (value: unknown) => boolean, message: string) =>
  v.pipe(
    v.record(v.string(), v.unknown()),
    v.rawCheck(({ dataset, addIssue }) => {
      const value = dataset.typed ? dataset.value[field] : undefined;
      if (dataset.typed && value !== undefined && value !== null && !fits(value)) {
        addIssue({ message, path: [{ type: 'object', origin: 'value', input: dataset.value, key: field, value }] });
      }
    }),
  );

const isMap = (value: unknown) => typeof value === 'object' && !Array.isArray(value);

/** The fields of a `k8s-job` runtime in a catalog. */
export const k8sJobSpec: v.GenericSchema<K8sJobSpec> = v.pipe(
  v.strictObject({
    namespace,
    image: v.pipe(textSchema, v.regex(/^\S+$/, 'holds a space; name one image, as in registry/name:tag')),
    service_account: v.optional(name('a ServiceAccount')),
    resources: v.optional(resources),
    command: v.optional(textSchema),
    args: v.optional(argsSchema),
    working_dir: v.optional(v.pipe(textSchema, v.regex(/^\//, 'must be an absolute path in the container'))),
    user: v.optional(
      v.pipe(
        textSchema,
        v.regex(/^(?:image|\d{1,10}(?::\d{1,10})?)$/, 'is not a user; write it as "1000", "1000:1000" or image'),
      ),
    ),
    env_from: v.optional(v.array(envFrom)),
    pull_policy: v.optional(v.picklist(['Always', 'IfNotPresent', 'Never'])),
    image_pull_secrets: v.optional(v.array(name('a Secret'))),
    node_selector: v.optional(v.record(v.string(), v.string())),
    tolerations: v.optional(v.array(toleration)),
    pod_security: v.optional(
      v.strictObject({
        run_as_non_root: v.optional(v.boolean()),
        read_only: v.optional(v.boolean()),
        no_new_privileges: v.optional(v.boolean()),
        drop_capabilities: v.optional(v.boolean()),
        cap_add: v.optional(
          v.array(v.pipe(textSchema, v.regex(/^[A-Z][A-Z_]*$/, 'is not a capability; write it as NET_BIND_SERVICE'))),
        ),
        seccomp: v.optional(v.picklist(['RuntimeDefault', 'Unconfined'])),
      }),
    ),
    active_deadline: v.optional(durationSchema),
    ttl: v.optional(durationSchema),
    schedule_timeout: v.optional(durationSchema),
    context: v.optional(textSchema),
    pod: v.optional(
      v.strictObject({
        metadata: v.optional(podPart('labels', isMap, 'must be a map of names and values')),
        spec: v.optional(
          podPart('containers', Array.isArray, 'must be a list of containers; the server\'s is named "mcp"'),
        ),
      }),
    ),
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const { user = '', pod_security } = dataset.value;
    if (/^0+(?::|$)/.test(user) && pod_security?.run_as_non_root !== false) {
      addIssue({ message: 'user 0 is root; choose another one, or set pod_security.run_as_non_root to false' });
    }
  }),
);
