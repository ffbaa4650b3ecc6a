import type { Engine } from './engine/engine.js';
import { ownerLabel } from './labels.js';
import { findOwner, isDead, parseOwner } from './owner.js';
import { removeContainer } from './remove-container.js';

/**
 * Removes the containers whose owner is dead: those of hosts that were killed. Judges only owners of this machine and of
 * our own pid namespace.
 *
 * @returns the ids of what could not be removed
 */
export async function sweep(engine: Engine, signal: AbortSignal, judging = findOwner()): Promise<string[]> {
  const judge = await judging;
  if (judge.startTime === '' && engine.socketPath === undefined) {
    // Where the system tells no more, a machine is known by its name, which another one that shares the engine may have.
    return [];
  }
  const containers = await engine.list(ownerLabel, signal);
  const judged = await Promise.all(
    containers.map(async ({ id, image, labels }) => {
      const label = labels[ownerLabel] ?? '';
      const owner = parseOwner(label);
      if (owner === undefined || !(await isDead(owner, judge))) return undefined;
      // An image that was made of a container of ours has its labels, and gives them to whatever is run of it.
      const isOfOthers = await engine.inspectImage(image, signal).then(
        (origin) => origin?.labels[ownerLabel] === label,
        // Rather left for the sweep of the next gateway than taken from somebody.
        () => true,
      );
      return isOfOthers ? undefined : id;
    }),
  );
  const dead = judged.filter((id) => id !== undefined);
  const outcomes = await Promise.allSettled(dead.map((id) => removeContainer(engine, id, signal)));
  return dead.filter((_, index) => outcomes[index]?.status === 'rejected');
}
