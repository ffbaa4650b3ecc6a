import { GatewayError, tailSuffix } from '../../errors.js';
import type { RuntimeContext } from '../../runtime.js';
import type { PeerExit } from '../../transport/stream-peer.js';
import { parseDuration } from '../../util/quantity.js';
import { isFailure, mayPass } from '../shared/kubernetes/kubernetes-error.js';
import { pause } from '../shared/kubernetes/request.js';
import { events, jobs } from '../shared/kubernetes/resources.js';
import type { JobRun } from './job-run.js';
import type { Event, Job, Pod } from './objects.js';
import { exitOfJob, findCreateProblem, findCreateTrouble, isPulling, judgePod, lastWarning } from './pod-state.js';

const defaultScheduleMs = 15_000;
/** How often events are asked for while nothing happens: what hinders a pod from being made shows nowhere else. */
const askMs = 1_000;

/**
 * Resolves with the pod of a Job once its container runs.
 *
 * @throws `GatewayError` `START_FAILED` that says what hinders it; `signal.reason` once aborted
 */
export async function awaitRunning(run: JobRun, context: RuntimeContext): Promise<Pod> {
  const over = new AbortController();
  const signal = AbortSignal.any([context.signal, over.signal]);
  const stuck = Promise.race([askForTrouble(run, context, signal), limitScheduling(run, context, signal)]);
  stuck.catch(() => {});
  try {
    const pod = run.until((found) => firstDecided(found, run), signal);
    pod.catch(() => {});
    const decided = await Promise.race([pod, stuck]);
    const state = judgePod(decided, run.names.job);
    if (state.phase === 'running') return decided;
    if (state.phase === 'ended') throw await endedError(run, decided, state.exit, context);
    throw startFailed(state.phase === 'failed' ? state.message : 'the pod did not start', context);
  } finally {
    over.abort();
  }
}

function firstDecided(found: readonly Pod[], run: JobRun): Pod | undefined {
  return found.find((pod) => judgePod(pod, run.names.job).phase !== 'waiting');
}

/** The error for a server that ended before anybody could speak to it. */
export async function endedError(
  run: JobRun,
  pod: Pod,
  exit: PeerExit,
  context: Pick<RuntimeContext, 'server' | 'limits'>,
): Promise<GatewayError> {
  const tail = await run.logEnd(200, context.limits.stderrTailBytes, pod);
  const { message = `the server ended with code ${exit.code} before it could be attached to`, ...rest } = exitOfJob(
    exit,
    exit.reason === 'deleted' ? await run.current() : run.job,
  );
  return new GatewayError('START_FAILED', `${message}${tailSuffix(tail)}`, {
    server: context.server,
    exit: { ...rest, stderrTail: tail },
    delivered: false,
  });
}

export function startFailed(message: string, { server }: Pick<RuntimeContext, 'server'>): GatewayError {
  return new GatewayError('START_FAILED', message, { server, delivered: false });
}

/** Rejects when the pod has waited for a node for too long. */
async function limitScheduling(run: JobRun, context: RuntimeContext, signal: AbortSignal): Promise<never> {
  const limitMs = parseDuration(run.spec.schedule_timeout ?? '') ?? defaultScheduleMs;
  const unschedulable = (found: readonly Pod[]) => {
    const state = found[0] && judgePod(found[0], run.names.job);
    return state?.phase === 'waiting' ? state.unschedulable : undefined;
  };
  for (;;) {
    await run.until((found) => unschedulable(found), signal);
    await pause(limitMs, signal, context.clock);
    const message = unschedulable(run.pods);
    if (message !== undefined) throw startFailed(`${message} (waited ${limitMs / 1000} s, schedule_timeout)`, context);
  }
}

/** Asks for what shows in events alone. Rejects when something keeps the pod from being made. */
async function askForTrouble(run: JobRun, context: RuntimeContext, signal: AbortSignal): Promise<never> {
  for (;;) {
    await pause(askMs, signal, context.clock);
    const pod = run.pods[0];
    if (pod === undefined) {
      await lookForPod(run, context, signal);
      continue;
    }
    const found = await listEvents(run, pod.metadata.uid, signal);
    const state = judgePod(pod, run.names.job);
    const phase = isPulling(found) ? 'pulling' : 'starting';
    const trouble = (state.phase === 'waiting' && state.message) || lastWarning(found) || run.trouble?.message;
    const message = phase === 'pulling' ? `the node pulls ${run.spec.image}` : trouble;
    context.report(phase, message === undefined ? undefined : { message });
  }
}

async function lookForPod(run: JobRun, context: RuntimeContext, signal: AbortSignal): Promise<void> {
  if (run.job === undefined) return;
  const found = await listEvents(run, run.job.metadata.uid, signal);
  const problem = findCreateProblem(found);
  if (problem !== undefined) throw startFailed(problem, context);
  const trouble = findCreateTrouble(found) ?? run.trouble?.message;
  if (trouble !== undefined) context.report('starting', { message: trouble });
  const { namespace, cluster } = run.claim;
  const job = await cluster.get<Job>(jobs({ namespace, name: run.names.job }), { signal }).catch((error: unknown) => {
    if (isFailure(error, 'not-found')) throw startFailed('its Job was deleted before it had started', context);
    if (mayPass(error)) return undefined;
    throw error;
  });
  if (job?.spec?.suspend === true) {
    context.report('starting', { message: 'its Job is suspended: a queue, such as Kueue, or somebody holds it back' });
  }
  const failed = job?.status?.conditions?.find(({ type, status }) => type === 'Failed' && status === 'True');
  if (failed !== undefined) {
    const { reason = 'no reason given', message = '' } = failed;
    throw startFailed(`the Job failed before there was a pod: ${reason}${message && `: ${message}`}`, context);
  }
}

async function listEvents(run: JobRun, uid: string, signal: AbortSignal): Promise<readonly Event[]> {
  const { namespace, cluster } = run.claim;
  const selector = { fieldSelector: `involvedObject.uid=${uid}`, signal };
  return cluster.list<Event>(events({ namespace }), selector).catch((error: unknown) => {
    // It explains what hinders a start, and must not hinder it.
    if (mayPass(error)) return [];
    throw error;
  });
}
