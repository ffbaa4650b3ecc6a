import fc from 'fast-check';
import { expect } from 'vitest';

/** One random run of something, and what was seen in it. */
export interface PlayedSchedule {
  /** @param number - random: says what happens */
  step(number: number): Promise<void>;
  /** Lets everything come to its end, looks whether it is as it should be, and closes. */
  finish(): Promise<void>;
  readonly judge: {
    /** How often what has happened, for a look at whether all of it did. */
    readonly counts: ReadonlyMap<string, number>;
    readonly lines: readonly string[];
    readonly problems: readonly string[];
  };
}

/** What a judge of schedules writes down. */
export class Notes {
  readonly problems: string[] = [];
  readonly lines: string[] = [];
  readonly counts = new Map<string, number>();

  problem(text: string): void {
    this.problems.push(text);
    this.log(`PROBLEM ${text}`);
  }

  log(text: string): void {
    this.lines.push(text);
  }

  /** Something happened that may. */
  count(what: string, times = 1): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + times);
  }
}

export interface PlayOptions {
  readonly runs: number;
  readonly seed: number;
  /** How many schedules are played at a time, for those that wait for something outside of this process. */
  readonly lanes?: number;
  /** Steps of one schedule, at most. */
  readonly mostSteps: number;
  /** All of this has to happen in some schedule. */
  readonly happenings: readonly string[];
}

// A bias to small ones would play the same steps again and again.
const number = fc.noBias(fc.nat({ max: 2 ** 31 - 1 }));

/** Plays schedules until one of them has a problem. @param create - by a random number, which says how it is set up */
export async function playSchedules(
  create: (setting: number) => PlayedSchedule | Promise<PlayedSchedule>,
  options: PlayOptions,
): Promise<void> {
  const { runs, seed, lanes = 1, happenings } = options;
  console.log(`seed ${seed}: repeat with TEST_SEED`);
  const seen = new Map<string, number>();
  const lane = (_: unknown, index: number) =>
    playLane(create, { ...options, runs: Math.ceil(runs / lanes), seed: seed + index }, seen);
  await Promise.all(Array.from({ length: lanes }, lane));
  if (process.env.TEST_COUNTS === '1')
    console.log(
      [...seen]
        .sort()
        .map(([what, times]) => `${what}: ${times}`)
        .join('\n'),
    );
  // All that may happen did.
  expect([...seen.keys()]).toEqual(expect.arrayContaining([...happenings]));
}

async function playLane(
  create: (setting: number) => PlayedSchedule | Promise<PlayedSchedule>,
  { runs, seed, mostSteps }: PlayOptions,
  seen: Map<string, number>,
): Promise<void> {
  await fc.assert(
    fc.asyncProperty(
      number,
      fc.noBias(fc.array(number, { minLength: 5, maxLength: mostSteps, size: 'max' })),
      async (setting, steps) => {
        const schedule = await create(setting);
        for (const step of steps) {
          await schedule.step(step);
        }
        await schedule.finish();
        for (const [what, times] of schedule.judge.counts) {
          seen.set(what, (seen.get(what) ?? 0) + times);
        }
        expect(schedule.judge.problems, schedule.judge.lines.join('\n')).toEqual([]);
      },
    ),
    // Without shrinking: a shorter schedule is another one, and most are as long as they have to be.
    { numRuns: runs, seed, endOnFailure: true },
  );
}
