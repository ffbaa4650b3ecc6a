import { createHash } from 'node:crypto';
import { parseDuration } from '../../util/quantity.js';
import { mergePod } from './merge-pod.js';
import type { K8sEnvSource, K8sJobSpec, K8sPodSecurity, K8sToleration } from './spec-types.js';

/** What every object of ours is found by. */
export const managedBy = { 'app.kubernetes.io/managed-by': 'open-mcp-gateway' } as const;
/** On Jobs, Pods and Secrets: the Lease of the gateway that they belong to. */
export const leaseLabel = 'open-mcp-gateway/lease';
/** On Pods and Secrets: the Job that they belong to. */
export const jobLabel = 'open-mcp-gateway/job';
/** The container in which the server runs. */
export const containerName = 'mcp';
export const leaseSeconds = 60;

/** After end of input has not helped, the pod gets SIGTERM and so long until SIGKILL. */
const graceSeconds = 3;
const defaultUser = '65532:65532';
const defaultDeadlineMs = 24 * 60 * 60 * 1000;
const defaultTtlMs = 60_000;

/** An object that another one goes with. */
export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
}

export interface JobNames {
  readonly job: string;
  readonly lease: string;
  readonly server: string;
}

/** The name of an instance's Job and Secret: different for each instance of each gateway, and fit for a label. */
export function jobName(server: string, gatewayId: string, instanceId: string): string {
  const hash = createHash('sha256').update(`${gatewayId}/${instanceId}`).digest('hex').slice(0, 12);
  const readable = server
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 24)
    .replaceAll(/^-+|-+$/g, '');
  return `mcp-${readable}${readable === '' ? '' : '-'}${hash}`;
}

export function leaseName(gatewayId: string): string {
  return `mcp-gateway-${gatewayId}`.slice(0, 63).replace(/-+$/, '');
}

/** The Job that runs one server. */
export function toJob(spec: K8sJobSpec, names: JobNames, hasEnv: boolean, owner?: OwnerReference): object {
  const deadlineMs = parseDuration(spec.active_deadline ?? '') ?? defaultDeadlineMs;
  const ttlMs = parseDuration(spec.ttl ?? '') ?? defaultTtlMs;
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {
      name: names.job,
      namespace: spec.namespace,
      labels: labelsOf(names),
      ...(owner !== undefined && { ownerReferences: [owner] }),
    },
    spec: {
      backoffLimit: 0,
      completions: 1,
      parallelism: 1,
      ttlSecondsAfterFinished: Math.ceil(ttlMs / 1000),
      ...(deadlineMs > 0 && { activeDeadlineSeconds: Math.ceil(deadlineMs / 1000) }),
      template: toTemplate(spec, names, hasEnv),
    },
  };
}

/** The Secret that holds a server's variables, and goes with its Job. */
export function toSecret(
  spec: K8sJobSpec,
  names: JobNames,
  env: Readonly<Record<string, string>>,
  jobUid: string,
): object {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: names.job,
      namespace: spec.namespace,
      labels: { ...labelsOf(names), [jobLabel]: names.job },
      ownerReferences: [{ apiVersion: 'batch/v1', kind: 'Job', name: names.job, uid: jobUid }],
    },
    type: 'Opaque',
    immutable: true,
    data: Object.fromEntries(Object.entries(env).map(([name, value]) => [name, Buffer.from(value).toString('base64')])),
  };
}

/** The Lease by which others see that a gateway lives. */
export function toLease(name: string, namespace: string, now: Date, owner?: OwnerReference): object {
  return {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: { name, namespace, labels: managedBy, ...(owner !== undefined && { ownerReferences: [owner] }) },
    spec: { holderIdentity: name, leaseDurationSeconds: leaseSeconds, ...renewedAt(now), acquireTime: microTime(now) },
  };
}

export function renewedAt(now: Date): { readonly renewTime: string } {
  return { renewTime: microTime(now) };
}

function microTime(date: Date): string {
  return date.toISOString().replace('Z', '000Z');
}

function labelsOf({ lease, server }: JobNames): Record<string, string> {
  // An id may end with what a label must not end with.
  return { ...managedBy, 'app.kubernetes.io/name': server.replace(/[^A-Za-z0-9]+$/, ''), [leaseLabel]: lease };
}

function toTemplate(spec: K8sJobSpec, names: JobNames, hasEnv: boolean): object {
  const { metadata = {}, spec: podSpec = {} } = mergePod(
    { metadata: {}, spec: toPodSpec(spec, names, hasEnv) },
    spec.pod ?? {},
  ) as { readonly metadata?: Record<string, unknown>; readonly spec?: Record<string, unknown> };
  const labels = { ...(metadata.labels as object | undefined), ...labelsOf(names), [jobLabel]: names.job };
  const containers = ((podSpec.containers ?? []) as readonly Record<string, unknown>[]).map((container) => {
    if (container.name !== containerName) return container;
    // One that is started anew has lost its connection: since Kubernetes 1.34 a container may go against the pod here.
    const { restartPolicy: _, restartPolicyRules: __, ...kept } = container;
    return { ...kept, stdin: true, stdinOnce: true, tty: false };
  });
  return { metadata: { ...metadata, labels }, spec: { ...podSpec, restartPolicy: 'Never', containers } };
}

function toPodSpec(spec: K8sJobSpec, names: JobNames, hasEnv: boolean): Record<string, unknown> {
  const security = spec.pod_security ?? {};
  const readOnly = security.read_only !== false;
  const sources = [
    ...(spec.env_from ?? []).map(toEnvSource),
    ...(hasEnv ? [{ secretRef: { name: names.job, optional: false } }] : []),
  ];
  return {
    restartPolicy: 'Never',
    enableServiceLinks: false,
    // Gives the server a parent: as process 1 it would ignore SIGTERM, and nobody would reap its children.
    shareProcessNamespace: true,
    terminationGracePeriodSeconds: graceSeconds,
    automountServiceAccountToken: spec.service_account !== undefined,
    ...(spec.service_account !== undefined && { serviceAccountName: spec.service_account }),
    securityContext: toPodSecurity(spec.user ?? defaultUser, security),
    ...(spec.image_pull_secrets !== undefined && {
      imagePullSecrets: spec.image_pull_secrets.map((name) => ({ name })),
    }),
    ...(spec.node_selector !== undefined && { nodeSelector: spec.node_selector }),
    ...(spec.tolerations !== undefined && { tolerations: spec.tolerations.map(toToleration) }),
    containers: [
      {
        name: containerName,
        image: spec.image,
        ...(spec.pull_policy !== undefined && { imagePullPolicy: spec.pull_policy }),
        ...(spec.command !== undefined && { command: [literally(spec.command)] }),
        ...(spec.args !== undefined && { args: spec.args.map(literally) }),
        ...(spec.working_dir !== undefined && { workingDir: spec.working_dir }),
        ...(spec.resources !== undefined && { resources: spec.resources }),
        ...(sources.length > 0 && { envFrom: sources }),
        securityContext: toContainerSecurity(security),
        ...(readOnly && { volumeMounts: [{ name: 'tmp', mountPath: '/tmp' }] }),
      },
    ],
    ...(readOnly && { volumes: [{ name: 'tmp', emptyDir: {} }] }),
  };
}

// Kubernetes replaces `$(NAME)` in arguments by the variable, and `$$` by one `$`.
function literally(argument: string): string {
  return argument.replaceAll('$', '$$$$');
}

function toPodSecurity(user: string, security: K8sPodSecurity): object {
  const [uid, gid] = user === 'image' ? [] : user.split(':');
  return {
    ...(security.run_as_non_root !== false && { runAsNonRoot: true }),
    ...(uid !== undefined && { runAsUser: Number(uid) }),
    ...(uid !== undefined && { runAsGroup: Number(gid ?? uid) }),
    seccompProfile: { type: security.seccomp ?? 'RuntimeDefault' },
  };
}

function toContainerSecurity(security: K8sPodSecurity): object {
  const { cap_add: add = [], drop_capabilities: drop = true } = security;
  return {
    allowPrivilegeEscalation: security.no_new_privileges === false,
    readOnlyRootFilesystem: security.read_only !== false,
    ...((drop || add.length > 0) && {
      capabilities: { ...(drop && { drop: ['ALL'] }), ...(add.length > 0 && { add }) },
    }),
  };
}

function toEnvSource({ secret, config_map, prefix, optional = false }: K8sEnvSource): object {
  return {
    ...(prefix !== undefined && { prefix }),
    ...(secret !== undefined && { secretRef: { name: secret, optional } }),
    ...(config_map !== undefined && { configMapRef: { name: config_map, optional } }),
  };
}

function toToleration({ toleration_seconds, ...toleration }: K8sToleration): object {
  return { ...toleration, ...(toleration_seconds !== undefined && { tolerationSeconds: toleration_seconds }) };
}
