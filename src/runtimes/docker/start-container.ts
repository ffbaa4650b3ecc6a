import { GatewayError } from '../../errors.js';
import type { RuntimeContext } from '../../runtime.js';
import type { CreateContainerBody } from './container-body.js';
import { ContainerPeer } from './container-peer.js';
import { type Engine, EngineError } from './engine/engine.js';
import { instanceLabel, ownerLabel, serverLabel } from './labels.js';
import { removeContainer } from './remove-container.js';
import type { DockerSpec } from './spec.js';

export interface StartOptions {
  readonly engine: Engine;
  readonly spec: DockerSpec;
  readonly body: CreateContainerBody;
  readonly context: RuntimeContext;
  /** Something of a failed or stopped container may still be there. */
  onLeft(id: string): void;
  /** The instance may have a container whose id is not known. */
  onUnknown(instanceId: string): void;
}

const cleanUpMs = 30_000;
const maxSuffix = 1_000;

/**
 * Makes a container, attaches to it and starts it. What fails on the way, or is aborted, leaves no container.
 *
 * @throws EngineError; `GatewayError` for a name that is taken; `signal.reason`
 */
export async function startContainer(options: StartOptions): Promise<ContainerPeer> {
  const { engine, spec, context, onLeft } = options;
  const { signal } = context;
  // One that hangs may take longer for each of the calls than a start does.
  context.report('starting', { message: `the engine at ${engine.address} is asked to start a container` });
  const id = await create(options);
  const lifetime = new AbortController();
  try {
    signal.throwIfAborted();
    const [attached, waited] = await Promise.allSettled([
      engine.attach(id, signal),
      // Removal is what is waited for, so that the end of the server means that nothing is left of it.
      engine.waitRemoved(id, lifetime.signal),
    ]);
    if (attached.status === 'rejected') {
      throw attached.reason;
    }
    const connection = attached.value;
    if (waited.status === 'rejected') {
      connection.destroy();
      throw waited.reason;
    }
    try {
      await engine.start(id, signal);
    } catch (error) {
      connection.destroy();
      throw error;
    }
    const peer = new ContainerPeer({
      engine,
      id,
      server: context.server,
      spec,
      clock: context.clock,
      stderrTailBytes: context.limits.stderrTailBytes,
      connection,
      waiting: waited.value,
      waitAgain: () => engine.waitRemoved(id, lifetime.signal),
      released(removed) {
        lifetime.abort();
        if (!removed) {
          onLeft(id);
        }
      },
    });
    if (signal.aborted) {
      await peer.kill();
      throw signal.reason;
    }
    return peer;
  } catch (error) {
    lifetime.abort();
    await removeContainer(engine, id, AbortSignal.timeout(cleanUpMs)).catch(() => onLeft(id));
    signal.throwIfAborted();
    throw error;
  }
}

/** Not aborted on the way: an answer that nobody waits for would leave a container that nobody knows. */
async function create(options: StartOptions): Promise<string> {
  const { engine, spec, body, context } = options;
  const { container_name: wanted, platform } = spec;
  const never = new AbortController().signal;
  for (let number = 1; ; number += 1) {
    const name = wanted === undefined ? `mcp-${context.instanceId}` : number === 1 ? wanted : `${wanted}-${number}`;
    try {
      return await engine.create({ name, platform, body }, never);
    } catch (error) {
      if (!isTaken(error)) {
        // What a proxy on the way says, says nothing about the engine.
        if (
          error instanceof EngineError &&
          (error.status === undefined ? mayHaveArrived(error) : error.status >= 500)
        ) {
          await removeUnknown(options);
        }
        throw error;
      }
      await refuseForeign(engine, name, number, context);
      context.signal.throwIfAborted();
    }
  }
}

/** The answer to a creation was lost or says little: there may be a container all the same, now or in a while. */
async function removeUnknown({ engine, context, onLeft, onUnknown }: StartOptions): Promise<void> {
  const signal = AbortSignal.timeout(cleanUpMs);
  const found = await findOfInstance(engine, context.instanceId, signal).catch(() => []);
  if (found.length === 0) {
    onUnknown(context.instanceId);
  }
  await Promise.all(found.map((id) => removeContainer(engine, id, signal).catch(() => onLeft(id))));
}

/** Whether somebody has the name. Podman 4 and 5 say so with status 500. */
function isTaken(error: unknown): boolean {
  if (!(error instanceof EngineError)) return false;
  const { status, message } = error;
  return status === 409 ? /name|in use/i.test(message) : status === 500 && /\bname ".+ in use\b/i.test(message);
}

/** False when nobody was there to take the call. */
function mayHaveArrived({ cause }: EngineError): boolean {
  const { code } = (cause ?? {}) as NodeJS.ErrnoException;
  return code !== 'ECONNREFUSED' && code !== 'ENOENT';
}

/** The ids of an instance's containers. */
export async function findOfInstance(engine: Engine, instanceId: string, signal: AbortSignal): Promise<string[]> {
  return (await engine.list(`${instanceLabel}=${instanceId}`, signal)).map(({ id }) => id);
}

/** A name that another session of the same server has is no reason to fail: the next one gets a suffix. */
async function refuseForeign(
  engine: Engine,
  name: string,
  number: number,
  { server, signal }: RuntimeContext,
): Promise<void> {
  const holder = await engine.inspect(name, signal);
  const ours =
    holder === undefined || (holder.labels[ownerLabel] !== undefined && holder.labels[serverLabel] === server);
  if (!ours || number >= maxSuffix) {
    throw new GatewayError(
      'START_FAILED',
      `there is a container "${name}" already, which is not this server's; remove it (docker rm) or change container_name`,
      { server },
    );
  }
}
