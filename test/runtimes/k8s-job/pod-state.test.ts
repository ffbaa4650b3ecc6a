import { describe, expect, test } from 'vitest';
import type { Event, Pod } from '../../../src/runtimes/k8s-job/objects.js';
import {
  exitOfJob,
  findCreateProblem,
  isPulling,
  judgePod,
  lastWarning,
} from '../../../src/runtimes/k8s-job/pod-state.js';

const metadata = { name: 'mcp-a-1-xyz', uid: 'u1' };
const withState = (state: object, status: object = {}, more: object = {}): Pod => ({
  metadata: { ...metadata, ...more },
  status: { phase: 'Pending', containerStatuses: [{ name: 'mcp', state }], ...status },
});
const waiting = (reason: string, message?: string) => withState({ waiting: { reason, message } });
const terminated = (state: object, status: object = {}, more: object = {}) =>
  withState({ terminated: state }, { phase: 'Failed', ...status }, more);
const disrupted = (reason: string, message: string) => [{ type: 'DisruptionTarget', status: 'True', reason, message }];
const event = (reason: string, message = '', type = 'Normal', at = '2026-01-01T00:00:00Z'): Event => ({
  metadata: { name: 'e', uid: 'e' },
  type,
  reason,
  message,
  lastTimestamp: at,
});

describe('judgePod', () => {
  test.each([
    ['ErrImagePull', 'manifest unknown', /image cannot be pulled \(ErrImagePull\): manifest unknown; check the name/],
    ['ErrImagePull', 'pull access denied', /image_pull_secrets/],
    ['ErrImageNeverPull', 'not present', /change pull_policy/],
    ['InvalidImageName', 'invalid reference', /InvalidImageName/],
    ['CreateContainerConfigError', 'secret "other" not found', /check env_from/],
    ['CreateContainerConfigError', 'container has runAsNonRoot and image will run as root', /run_as_non_root to false/],
    ['CreateContainerError', 'no such thing', /cannot be started \(CreateContainerError\)/],
  ])('%s: %s', (reason, said, message) => {
    const state = judgePod(waiting(reason, said), 'own');
    expect(state).toEqual({ phase: 'failed', message: expect.stringMatching(message) });
  });

  test('waits for its own Secret, which comes a moment later', () => {
    expect(judgePod(waiting('CreateContainerConfigError', 'secret "own" not found'), 'own').phase).toBe('waiting');
  });

  test('waits for a kubelet that has not read a Secret yet', () => {
    const message = 'failed to sync secret cache: timed out waiting for the condition';
    expect(judgePod(waiting('CreateContainerConfigError', message), 'own').phase).toBe('waiting');
  });

  test('waits while the container is made, and says what a scheduler says', () => {
    expect(judgePod(waiting('ContainerCreating'), 'own')).toEqual({ phase: 'waiting', message: undefined });
    const conditions = [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/1 nodes' }];
    const state = judgePod({ metadata, status: { phase: 'Pending', conditions } }, 'own');
    expect(state).toMatchObject({ phase: 'waiting', unschedulable: 'no node can take the pod: 0/1 nodes' });
    expect(judgePod({ metadata }, 'own').phase).toBe('waiting');
  });

  test('says what holds a pod back from the scheduler, which is no want of nodes', () => {
    const message = 'Scheduling is blocked due to non-empty scheduling gates';
    const conditions = [{ type: 'PodScheduled', status: 'False', reason: 'SchedulingGated', message }];
    expect(judgePod({ metadata, status: { phase: 'Pending', conditions } }, 'own')).toEqual({
      phase: 'waiting',
      message: `the pod gets no node yet: ${message}`,
    });
  });

  test('a failing init container is named', () => {
    const initContainerStatuses = [{ name: 'prepare', state: { waiting: { reason: 'ErrImagePull' } } }];
    const state = judgePod({ metadata, status: { phase: 'Pending', initContainerStatuses } }, 'own');
    expect(state).toMatchObject({ phase: 'failed', message: expect.stringContaining('of container "prepare"') });
  });

  test('a program that is not there is no exit of a server', () => {
    const message = 'exec: "nope": executable file not found in $PATH';
    const state = judgePod(terminated({ exitCode: 127, reason: 'ContainerCannotRun', message }), 'own');
    expect(state).toMatchObject({ phase: 'failed', message: expect.stringMatching(/not found.*check command/) });
  });

  test.each([
    ['a code', terminated({ exitCode: 7, reason: 'Error' }), { code: 7 }],
    ['success', terminated({ exitCode: 0, reason: 'Completed' }, { phase: 'Succeeded' }), { code: 0 }],
    ['out of memory', terminated({ exitCode: 137, reason: 'OOMKilled' }), { code: 137, reason: 'oom' }],
    ['evicted', { metadata, status: { phase: 'Failed', reason: 'Evicted', message: 'disk' } }, { reason: 'evicted' }],
    ['a deadline', { metadata, status: { phase: 'Failed', reason: 'DeadlineExceeded' } }, { reason: 'deadline' }],
    [
      'deleted',
      terminated({ exitCode: 143, reason: 'Error' }, {}, { deletionTimestamp: '2026-01-01T00:00:00Z' }),
      { code: 143, reason: 'deleted' },
    ],
    [
      'its node was shut down',
      terminated({ exitCode: 143, reason: 'Error' }, { reason: 'Terminated', message: 'imminent node shutdown' }),
      { code: 143, reason: 'failed', message: 'the pod failed: Terminated: imminent node shutdown' },
    ],
    [
      'by a container before it',
      {
        metadata,
        status: {
          phase: 'Failed',
          initContainerStatuses: [
            { name: 'first', state: { terminated: { exitCode: 0, reason: 'Completed' } } },
            { name: 'migrate', state: { terminated: { exitCode: 3, reason: 'Error' } } },
          ],
          containerStatuses: [{ name: 'mcp', state: { waiting: { reason: 'PodInitializing' } } }],
        },
      },
      { reason: 'failed', message: 'container "migrate" ended with code 3 (Error), before the server was started' },
    ],
    [
      'by a container before it, and not by a sidecar that was ended then',
      {
        metadata,
        spec: { initContainers: [{ name: 'proxy', restartPolicy: 'Always' }, { name: 'migrate' }] },
        status: {
          phase: 'Failed',
          initContainerStatuses: [
            { name: 'proxy', state: { terminated: { exitCode: 143, reason: 'Error' } } },
            { name: 'migrate', state: { terminated: { exitCode: 3, reason: 'Error' } } },
          ],
          containerStatuses: [{ name: 'mcp', state: { waiting: { reason: 'PodInitializing' } } }],
        },
      },
      { reason: 'failed', message: 'container "migrate" ended with code 3 (Error), before the server was started' },
    ],
    [
      'its node is gone',
      withState(
        { running: {} },
        { phase: 'Failed', conditions: disrupted('DeletionByPodGC', 'node no longer exists') },
      ),
      { code: undefined, reason: 'node-lost', message: 'the node of the pod was lost: node no longer exists' },
    ],
    [
      'its node was drained',
      terminated(
        { exitCode: 143, reason: 'Error' },
        { conditions: disrupted('EvictionByEvictionAPI', 'Eviction API: evicting') },
        { deletionTimestamp: '2026-01-01T00:00:00Z' },
      ),
      { code: 143, reason: 'evicted', message: 'the pod mcp-a-1-xyz was evicted: Eviction API: evicting' },
    ],
    [
      'by itself, after an eviction that came to nothing',
      terminated({ exitCode: 7, reason: 'Error' }, { conditions: disrupted('PreemptionByScheduler', 'preempting') }),
      expect.not.objectContaining({ reason: 'evicted' }),
    ],
  ])('ended: %s', (_, pod, exit) => {
    expect(judgePod(pod, 'own')).toMatchObject({ phase: 'ended', exit });
  });

  test('the Job knows whether a deleted pod went because it was suspended', () => {
    const deleted = { code: 143, reason: 'deleted', message: 'the pod was deleted' };
    const job = (suspend: boolean) => ({ metadata, spec: { suspend } });
    expect(exitOfJob(deleted, job(true))).toEqual({ ...deleted, message: 'its Job was suspended' });
    expect(exitOfJob(deleted, job(false))).toEqual(deleted);
    expect(exitOfJob({ code: 1 }, job(true))).toEqual({ code: 1 });
  });

  test('the Job knows whether a deleted pod had passed its deadline', () => {
    const deleted = { code: 143, reason: 'deleted', message: 'the pod was deleted' };
    const job = (conditions: object[]) => ({ metadata, status: { conditions } }) as never;
    const late = job([{ type: 'FailureTarget', status: 'True', reason: 'DeadlineExceeded' }]);
    expect(exitOfJob(deleted, late)).toMatchObject({ reason: 'deadline', code: 143 });
    expect(exitOfJob(deleted, job([]))).toEqual(deleted);
    expect(exitOfJob(deleted, undefined)).toMatchObject({ reason: 'deleted', message: 'its Job was deleted' });
    expect(exitOfJob({ code: 1, reason: 'oom' }, late)).toEqual({ code: 1, reason: 'oom' });
  });
});

describe('events', () => {
  test.each([
    ['pods "x" is forbidden: exceeded quota: q, requested: pods=1', /raise the ResourceQuota/],
    ['pods "x" is forbidden: failed quota: q: must specify cpu', /give resources/],
    ['pods "x" is forbidden: violates PodSecurity "restricted:latest"', /check pod_security/],
    [
      'pods "x" is forbidden: unable to validate against any security context constraint: [provider restricted-v2: ' +
        '.containers[0].runAsUser: Invalid value: 65532: must be in the ranges: [1000850000, 1000859999]]',
      /set user to image/,
    ],
    ['error looking up service account ns/sa: serviceaccount "sa" not found', /check service_account/],
    ['something else', /makes no pod: something else/],
  ])('FailedCreate: %s', (said, message) => {
    expect(findCreateProblem([event('SuccessfulCreate'), event('FailedCreate', said, 'Warning')])).toMatch(message);
  });

  test('a pull is under way from Pulling to Pulled', () => {
    expect(isPulling([event('Scheduled')])).toBe(false);
    expect(isPulling([event('Scheduled'), event('Pulling')])).toBe(true);
    expect(isPulling([event('Pulled'), event('Pulling')])).toBe(false);
  });

  test('the last warning counts', () => {
    const early = event('FailedMount', 'no such volume', 'Warning', '2026-01-01T00:00:01Z');
    const late = event('FailedMount', 'still none', 'Warning', '2026-01-01T00:00:09Z');
    expect(lastWarning([late, event('Pulled'), early])).toBe('still none');
    expect(lastWarning([event('Pulled')])).toBeUndefined();
  });
});
