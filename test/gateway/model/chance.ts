import { createRandom } from '../../support/random.js';

/** What decides one step: the same for the same number. */
export interface Chance {
  below(limit: number): number;
  /** True once in `times`. */
  oneIn(times: number): boolean;
  pick<T>(items: readonly T[]): T | undefined;
  one<T>(items: readonly [T, ...T[]]): T;
  /** By weight. */
  weigh<T>(items: readonly (readonly [number, T])[]): T;
}

export function createChance(seed: number): Chance {
  const random = createRandom(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  return {
    below,
    oneIn: (times) => below(times) === 0,
    pick: (items) => items[below(items.length)],
    one: (items) => items[below(items.length)] as (typeof items)[0],
    weigh(items) {
      let at = below(items.reduce((sum, [weight]) => sum + weight, 0));
      for (const [weight, item] of items) {
        if (at < weight) {
          return item;
        }
        at -= weight;
      }
      throw new Error('nothing to choose from');
    },
  };
}
