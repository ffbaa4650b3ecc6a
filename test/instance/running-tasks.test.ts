import { describe, expect, test } from 'vitest';
import { RunningTasks } from '../../src/instance/running-tasks.js';
import { FakeClock } from '../support/fake-clock.js';

const most = 10_000;

function setUp() {
  const clock = new FakeClock();
  const tasks = new RunningTasks(clock);
  /** Begins tasks of these numbers. */
  const begin = (from: number, to: number, ttl: number | null) => {
    for (let taskId = from; taskId < to; taskId += 1) tasks.see({ taskId, status: 'working', ttl });
  };
  const end = (from: number, to: number) => {
    for (let taskId = from; taskId < to; taskId += 1) tasks.see({ taskId, status: 'completed' });
  };
  return { clock, tasks, begin, end };
}

describe('tasks that run', () => {
  test('are as many as they may be; beyond that the oldest are forgotten', () => {
    const { tasks, begin, end } = setUp();
    begin(0, most + 1, null);
    end(1_000, most);
    expect(tasks.any).toBe(true);
    end(most, most + 1);
    expect(tasks.any).toBe(false);
  });

  test('are not forgotten for those whose time is over, wherever these stand, or for news of one', async () => {
    const { clock, tasks, begin, end } = setUp();
    begin(0, 1, null);
    begin(1, most, 1_000);
    await clock.advance(1_000);
    begin(most, most + 2, null);
    end(most, most + 2);
    expect(tasks.any).toBe(true);
    begin(1, most, null);
    begin(1, most, null);
    end(1, most);
    expect(tasks.any).toBe(true);
    end(0, 1);
    expect(tasks.any).toBe(false);
  });
});
