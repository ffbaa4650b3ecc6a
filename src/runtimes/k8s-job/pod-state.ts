import type { PeerExit } from '../../transport/stream-peer.js';
import { containerName } from './manifest.js';
import type { Condition, ContainerStatus, Event, Job, Pod, TerminatedState } from './objects.js';

/** How far a pod has come. */
export type PodState =
  | { readonly phase: 'waiting'; readonly message?: string | undefined; readonly unschedulable?: string | undefined }
  | { readonly phase: 'running' }
  | { readonly phase: 'ended'; readonly exit: PeerExit }
  /** It will never run. */
  | { readonly phase: 'failed'; readonly message: string };

const pullFailures: ReadonlySet<string> = new Set([
  'ErrImagePull',
  'ImagePullBackOff',
  'InvalidImageName',
  'ErrImageNeverPull',
  'ImageInspectError',
  'RegistryUnavailable',
  'SignatureValidationFailed',
]);
const containerFailures: ReadonlySet<string> = new Set([
  'CreateContainerConfigError',
  'CreateContainerError',
  'RunContainerError',
  'ContainerCannotRun',
  'StartError',
]);

/** What a busy kubelet says of a Secret or ConfigMap that it has not read yet: it tries again. */
const notReadYet = /failed to sync (secret|configmap) cache/;

/** @param secret - the pod's own Secret, which comes a moment after it */
export function judgePod(pod: Pod, secret: string): PodState {
  const { status } = pod;
  const container = status?.containerStatuses?.find(({ name }) => name === containerName);
  const terminated = container?.state?.terminated;
  if (terminated !== undefined && neverRan(terminated)) {
    return { phase: 'failed', message: `the container could not be started: ${describe(terminated)}` };
  }
  if (terminated !== undefined || status?.phase === 'Failed' || status?.phase === 'Succeeded') {
    return { phase: 'ended', exit: toExit(pod) };
  }
  if (container?.state?.running !== undefined) return { phase: 'running' };
  for (const { name, state } of [...(status?.initContainerStatuses ?? []), ...(container ? [container] : [])]) {
    const message = waitingProblem(name, state, secret);
    if (message !== undefined) return { phase: 'failed', message };
  }
  const scheduled = status?.conditions?.find(({ type }) => type === 'PodScheduled');
  if (scheduled?.status === 'False') {
    const why = scheduled.message ?? 'the scheduler gave no reason';
    // A gate is nobody's want of nodes: who has set it takes it away.
    if (scheduled.reason !== 'Unschedulable') return { phase: 'waiting', message: `the pod gets no node yet: ${why}` };
    const unschedulable = `no node can take the pod: ${why}`;
    return { phase: 'waiting', message: unschedulable, unschedulable };
  }
  return { phase: 'waiting', message: container?.state?.waiting?.message };
}

/** True when a container of a pod could not be started so far. */
export function isStuck({ status }: Pod): boolean {
  const all = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])];
  return all.some(({ state }) => {
    const reason = state?.waiting?.reason ?? '';
    return pullFailures.has(reason) || containerFailures.has(reason);
  });
}

function waitingProblem(name: string, state: ContainerStatus['state'], secret: string): string | undefined {
  const { reason = '', message = '' } = state?.waiting ?? {};
  const where = name === containerName ? '' : ` of container "${name}"`;
  if (pullFailures.has(reason)) {
    return `the image${where} cannot be pulled (${reason})${message && `: ${message}`}${pullRemedy(reason, message)}`;
  }
  if (!containerFailures.has(reason) || message.includes(`"${secret}"`) || notReadYet.test(message)) return undefined;
  return `the container${where && ` "${name}"`} cannot be started (${reason})${message && `: ${message}`}${startRemedy(message)}`;
}

function pullRemedy(reason: string, message: string): string {
  if (reason === 'ErrImageNeverPull') return '; bring it to the node, or change pull_policy';
  if (/unauthorized|authentication|denied|forbidden/i.test(message)) {
    return '; check its name, and name the credentials in image_pull_secrets';
  }
  return '; check the name and the registry';
}

function startRemedy(message: string): string {
  if (/runAsNonRoot|non-numeric user/i.test(message)) {
    return '; give a numeric user, or set pod_security.run_as_non_root to false';
  }
  if (/executable file not found|no such file or directory/i.test(message)) return '; check command and working_dir';
  if (/secret|configmap/i.test(message)) return '; check env_from';
  return '';
}

function neverRan({ reason }: TerminatedState): boolean {
  return reason === 'ContainerCannotRun' || reason === 'StartError';
}

function describe({ message, reason, exitCode }: TerminatedState): string {
  const text = message ?? `${reason ?? 'it ended'} with code ${exitCode}`;
  return `${text}${startRemedy(text)}`;
}

/** How the server in a pod ended, from what Kubernetes says of it. */
function toExit(pod: Pod): PeerExit {
  const { status, metadata } = pod;
  const state = status?.containerStatuses?.find(({ name }) => name === containerName)?.state?.terminated;
  const code = state?.exitCode;
  if (state?.reason === 'OOMKilled') {
    return { code, reason: 'oom', message: 'the container ran out of memory; raise resources.limits.memory' };
  }
  if (status?.reason === 'Evicted') {
    return { code, reason: 'evicted', message: `the node evicted the pod: ${status.message ?? 'it gave no reason'}` };
  }
  if (status?.reason === 'DeadlineExceeded') return deadlineExit(code);
  if (status?.reason === 'NodeLost') return { code, reason: 'node-lost', message: 'the node of the pod was lost' };
  // Such as the shutdown of its node, or a pod that is more important.
  if (status?.reason !== undefined) return failedExit(code, status.reason, status.message);
  const disruption = status?.conditions?.find(({ type, status }) => type === 'DisruptionTarget' && status === 'True');
  if (disruption?.reason === 'DeletionByPodGC') {
    return { code, reason: 'node-lost', message: `the node of the pod was lost: ${disruptionOf(disruption)}` };
  }
  if (metadata.deletionTimestamp !== undefined) {
    // Such as a node that is drained, or another pod that is more important. One that nobody went on to delete means nothing.
    return disruption === undefined
      ? { code, reason: 'deleted', message: `the pod ${metadata.name} was deleted` }
      : { code, reason: 'evicted', message: `the pod ${metadata.name} was evicted: ${disruptionOf(disruption)}` };
  }
  if (state !== undefined) return { code };
  // Such a one is started anew as long as it is wanted, and fails no pod: it was ended when the pod had failed.
  const sidecars = pod.spec?.initContainers?.filter(({ restartPolicy }) => restartPolicy === 'Always') ?? [];
  for (const { name, state: before } of status?.initContainerStatuses ?? []) {
    if (before?.terminated === undefined || before.terminated.exitCode === 0) continue;
    if (sidecars.some((sidecar) => sidecar.name === name)) continue;
    const { exitCode, reason = 'Error' } = before.terminated;
    const message = `container "${name}" ended with code ${exitCode} (${reason}), before the server was started`;
    return { reason: 'failed', message };
  }
  return failedExit(code, status?.message);
}

function disruptionOf({ reason, message }: Condition): string {
  return message || reason || 'Kubernetes gave no reason';
}

function failedExit(code: number | undefined, ...said: readonly (string | undefined)[]): PeerExit {
  const why = said.filter((part) => part !== undefined).join(': ');
  return { code, reason: 'failed', message: `the pod failed${why && `: ${why}`}` };
}

/** Refines `exit` by what the Job says, which is undefined when it is gone. */
export function exitOfJob(exit: PeerExit, job: Job | undefined): PeerExit {
  if (exit.reason !== undefined && exit.reason !== 'deleted') return exit;
  const failed = job?.status?.conditions?.find(
    ({ type, status, reason }) =>
      (type === 'Failed' || type === 'FailureTarget') && status === 'True' && reason === 'DeadlineExceeded',
  );
  if (failed !== undefined) return deadlineExit(exit.code);
  if (exit.reason !== 'deleted') return exit;
  if (job === undefined || job.metadata.deletionTimestamp !== undefined)
    return { ...exit, message: 'its Job was deleted' };
  return job.spec?.suspend === true ? { ...exit, message: 'its Job was suspended' } : exit;
}

function deadlineExit(code: number | undefined): PeerExit {
  return { code, reason: 'deadline', message: 'the server was ended after active_deadline' };
}

/** What Kubernetes says when others take from the same quota at the same moment: it tries again. */
const crossed = /the object has been modified/;

/** Why no pod is made for a Job, from its events; undefined while nothing speaks against it. */
export function findCreateProblem(events: readonly Event[]): string | undefined {
  const message = failedCreations(events).find((said) => !crossed.test(said));
  if (message === undefined) return undefined;
  const text = `Kubernetes makes no pod: ${message}`;
  if (/exceeded quota/.test(message)) return `${text}; raise the ResourceQuota or lower resources`;
  if (/must specify|failed quota/.test(message)) return `${text}; the namespace has a quota: give resources`;
  if (/security context constraint/i.test(message)) {
    return `${text}; set user to image, as OpenShift gives each namespace users of its own, or check pod_security and pod`;
  }
  if (/PodSecurity|podsecurity|security ?context|PodSecurityPolicy/i.test(message)) {
    return `${text}; check pod_security and pod, or the namespace's Pod Security level`;
  }
  if (/serviceaccount/i.test(message)) return `${text}; check service_account`;
  return text;
}

/** Why there is no pod yet, from the events of its Job. */
export function findCreateTrouble(events: readonly Event[]): string | undefined {
  const [message] = failedCreations(events);
  return message && `Kubernetes makes no pod yet: ${message}`;
}

function failedCreations(events: readonly Event[]): string[] {
  return events.flatMap(({ type, reason, message }) =>
    type === 'Warning' && reason === 'FailedCreate' && message !== undefined ? [message] : [],
  );
}

/** True while a node pulls an image, from the events of a pod. */
export function isPulling(events: readonly Event[]): boolean {
  const count = (reason: string) => events.filter((event) => event.reason === reason).length;
  return count('Pulling') > count('Pulled') + count('Failed');
}

/** The last thing that is wrong with a pod, from its events. */
export function lastWarning(events: readonly Event[]): string | undefined {
  const warnings = events.filter(({ type }) => type === 'Warning');
  return warnings.sort((a, b) => timeOf(a).localeCompare(timeOf(b))).at(-1)?.message;
}

function timeOf({ lastTimestamp, eventTime, metadata }: Event): string {
  return lastTimestamp ?? eventTime ?? metadata.creationTimestamp ?? '';
}
