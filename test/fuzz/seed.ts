import { count } from '../support/counts.js';
import { createRandom } from '../support/random.js';

/** The numbers of one run, which prints how to repeat it. */
export interface Chance {
  /** From 0 up to 1. */
  (): number;
  /** A whole number from 0 up to `below`. */
  below(below: number): number;
  pick<T>(all: readonly T[]): T;
}

/** @param what - what is fuzzed, for the line that is printed */
export function createChance(what: string): Chance {
  const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31);
  console.log(`${what}: repeat with TEST_SEED=${seed}`);
  return toChance(createRandom(seed));
}

export function toChance(random: () => number): Chance {
  const below = (limit: number) => Math.floor(random() * limit);
  return Object.assign(() => random(), { below, pick: <T>(all: readonly T[]) => all[below(all.length)] as T });
}

/** Cuts bytes into pieces of all sizes. */
export function cutAnywhere(bytes: Buffer, chance: Chance): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = chance() < 0.5 ? 1 + chance.below(4) : 1 + chance.below(400);
    pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  return pieces;
}

/** Changes bytes here and there: some set, some taken out, some doubled. */
export function mutate(bytes: Buffer, chance: Chance, times: number): Buffer {
  let mutated = bytes;
  for (let time = 0; time < times; time += 1) {
    const at = chance.below(mutated.length + 1);
    const to = Math.min(mutated.length, at + 1 + chance.below(8));
    const [before, middle, after] = [mutated.subarray(0, at), mutated.subarray(at, to), mutated.subarray(to)];
    const other = Buffer.from(Array.from({ length: chance.below(4) }, () => chance.pick(interesting)));
    mutated = Buffer.concat(
      chance.pick([
        [before, other, after],
        [before, after],
        [before, middle, middle, after],
        [before, other, middle, after],
      ]),
    );
  }
  return mutated;
}

// Ends of lines, what JSON and event streams are made of, halves of characters, and what is nothing at all.
const interesting = [
  ...Buffer.from('\r\n\n{}[]",:\\ 0e-data'),
  0,
  0x7f,
  0x80,
  0xc3,
  0xa9,
  0xef,
  0xbb,
  0xbf,
  0xf0,
  0xff,
];

export { count };
