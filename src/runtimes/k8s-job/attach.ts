import type { RuntimeContext } from '../../runtime.js';
import { settledWithin } from '../../util/abort.js';
import type { ChannelSocket } from '../shared/kubernetes/cluster.js';
import { isFailure, KubernetesError } from '../shared/kubernetes/kubernetes-error.js';
import { pods } from '../shared/kubernetes/resources.js';
import { endedError } from './await-pod.js';
import type { JobRun } from './job-run.js';
import { containerName } from './manifest.js';
import type { Pod } from './objects.js';
import { channels } from './pod-peer.js';
import { judgePod } from './pod-state.js';

const protocols = ['v5.channel.k8s.io', 'v4.channel.k8s.io'];
/** How long Kubernetes may take to tell that a container which cannot be attached to has ended. */
const explainMs = 5_000;

/**
 * Attaches to the server's container.
 *
 * @throws `GatewayError` `START_FAILED` when the server has ended; {@link KubernetesError}
 */
export async function attach(run: JobRun, pod: Pod, context: RuntimeContext): Promise<ChannelSocket> {
  const { signal } = context;
  const ref = pods({ namespace: run.claim.namespace, name: pod.metadata.name, subresource: 'attach' });
  const query = { container: containerName, stdin: 'true', stdout: 'true', stderr: 'true', tty: 'false' };
  const incoming = [channels.stdout, channels.stderr, channels.status];
  const connect = () => run.claim.cluster.connect(ref, { query, protocols, incoming, signal });
  try {
    return await connect();
  } catch (error) {
    if (!(error instanceof KubernetesError) || isFailure(error, 'forbidden', 'unauthorized')) throw error;
    const ended = run.until((found) => {
      const now = found.find(({ metadata }) => metadata.uid === pod.metadata.uid);
      return now === undefined || judgePod(now, run.names.job).phase !== 'running' ? (now ?? pod) : undefined;
    }, signal);
    if (await settledWithin(ended, explainMs, context.clock)) {
      const last = await ended;
      const state = judgePod(last, run.names.job);
      const exit = state.phase === 'ended' ? state.exit : { reason: 'deleted', message: 'its pod was deleted' };
      throw await endedError(run, last, exit, context);
    }
    // Nothing has been sent yet, so a second try harms nobody.
    return connect();
  }
}
