import { setTimeout as sleep } from 'node:timers/promises';
import { type Engine, EngineError } from './engine/engine.js';

const waitsMs = [20, 50, 100, 200, 400, 800, 1_000];

/**
 * Removes a container, and resolves when it is gone. What an engine answers while it starts, stops or removes the same
 * container, or while it is started itself, is waited out.
 *
 * @throws what the engine said last, after about ten seconds; `signal.reason`
 */
export async function removeContainer(engine: Engine, id: string, signal: AbortSignal): Promise<void> {
  for (let turn = 0; ; turn += 1) {
    try {
      await engine.remove(id, signal);
      if ((await engine.inspect(id, signal)) === undefined) {
        return;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (turn >= 14 || !(error instanceof EngineError)) {
        throw error;
      }
    }
    if (turn >= 14) {
      throw new EngineError('the container is still there after it was removed');
    }
    await sleep(waitsMs[Math.min(turn, waitsMs.length - 1)]);
  }
}
