import { expect, test } from 'vitest';
import { createGateway } from '../../src/index.js';
import { FakeClock, settle } from '../support/fake-clock.js';
import { ScriptedRuntime } from '../support/scripted-runtime.js';

// More than lie between the end of one start and the begin of the next.
const mostTurns = 40;

test.each([
  ['its turn', { starting: 1 }],
  ['room', { instances: 1 }],
])('who leaves in whatever moment in which %s comes starts nothing', async (_, limits) => {
  const late: number[] = [];
  for (let turns = 0; turns < mostTurns; turns += 1) {
    const runtime = new ScriptedRuntime();
    let hasLeft = false;
    const opening = Promise.withResolvers<void>();
    runtime.onopen = async ({ server }) => {
      if (server === 'b') {
        hasLeft && late.push(turns);
      } else {
        await opening.promise;
      }
    };
    const entry = (id: string) => ({ id, runtime: { type: 'scripted' as const } });
    const clock = new FakeClock();
    const gateway = createGateway({ servers: [entry('a'), entry('b')] }, { runtimes: [runtime], limits, clock });
    const [first, second] = [gateway.connect('a'), gateway.connect('b')];
    const starts = [first.start(), second.start()];
    await settle();
    opening.resolve();
    'instances' in limits && void starts[0]?.then(() => first.close());
    for (let turn = 0; turn < turns; turn += 1) {
      await Promise.resolve();
    }
    hasLeft = true;
    const closing = second.close();
    await Promise.allSettled(starts);
    await closing;
    await gateway.close({ graceMs: 0 });
  }
  expect(late).toEqual([]);
});
