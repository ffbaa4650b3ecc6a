import { containersOf, DockerScene, shell } from './docker.js';
import { openEngineProxy } from './engine-proxy.js';

/** When to abort: before the engine sees the call, or after it has answered and before we hear of it. */
export interface AbortPoint {
  readonly call: string;
  readonly when: 'before' | 'after';
}

/**
 * Opens a server through a proxy before the real engine, aborts at the given point and sees to it that nothing is left.
 * Without a point nothing is aborted.
 *
 * @returns the names of the calls in the order in which they came
 */
export async function abortInCall(point: AbortPoint | undefined): Promise<string[]> {
  const reason = new Error(`enough, ${point?.when} ${point?.call}`);
  const abort = new AbortController();
  const reached = (call: string, when: AbortPoint['when']) => {
    if (point !== undefined && point.call === call && point.when === when) abort.abort(reason);
  };
  await using proxy = await openEngineProxy({
    asked: (call) => reached(call, 'before'),
    answered(call, chunk) {
      reached(call, 'after');
      return chunk;
    },
  });
  await using scene = new DockerScene(proxy.runtime);
  const outcome = await scene.open(shell('cat'), { signal: abort.signal }).then(
    (peer) => peer,
    (error: unknown) => error,
  );
  if (point === undefined || !abort.signal.aborted) {
    if (outcome instanceof Error) throw outcome;
  } else if (outcome instanceof Error && outcome !== reason) {
    throw new Error(`rejected with something else ${reason.message}`, { cause: outcome });
  }
  const left = outcome instanceof Error ? await containersOf(scene.gatewayId) : [];
  if (left.length > 0) {
    throw new Error(`${left.length} containers are left: ${reason.message}`);
  }
  return [...new Set(proxy.calls)];
}
