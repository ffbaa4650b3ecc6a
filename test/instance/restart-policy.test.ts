import { describe, expect, test } from 'vitest';
import { GatewayError } from '../../src/errors.js';
import { Places } from '../../src/instance/limits.js';
import { PhaseMachine, type Transition } from '../../src/instance/phase-machine.js';
import { RestartPolicy, type RestartSettings } from '../../src/instance/restart-policy.js';
import { FakeClock, settle } from '../support/fake-clock.js';

const settings: RestartSettings = {
  max: 5,
  windowMs: 60_000,
  backoffMs: 1_000,
  maxBackoffMs: 30_000,
  cooldownMs: 300_000,
};
const never = new AbortController().signal;

/** Without jitter: 0.5 is its middle. */
function createPolicy(random = 0.5, changes: Partial<RestartSettings> = {}) {
  const clock = new FakeClock();
  return { clock, policy: new RestartPolicy('s', { ...settings, ...changes }, clock, () => random) };
}

/** How long until a start is admitted, in steps of a tenth of a second; undefined when it is refused. */
async function waited(policy: RestartPolicy, clock: FakeClock): Promise<number | undefined> {
  const start = clock.now();
  let outcome: 'admitted' | 'refused' | undefined;
  policy.admit(never).then(
    () => {
      outcome = 'admitted';
    },
    () => {
      outcome = 'refused';
    },
  );
  for (await settle(); outcome === undefined; await settle()) {
    await clock.advance(100);
  }
  return outcome === 'admitted' ? clock.now() - start : undefined;
}

describe('a server that fails', () => {
  test('may start at once before its first failure', async () => {
    const { policy, clock } = createPolicy();
    expect(await waited(policy, clock)).toBe(0);
    expect(policy.phase).toBe('idle');
  });

  test('may start at once after a session that is lost, unless others have failed within the window', async () => {
    const { policy, clock } = createPolicy();
    const lost = new GatewayError('SESSION_LOST', 'the server no longer knows the session');
    policy.failed(0, lost);
    expect(await waited(policy, clock)).toBe(0);
    await clock.advance(settings.windowMs - 1);
    policy.failed(settings.windowMs - 2, lost);
    expect(await waited(policy, clock)).toBe(2_000);
    policy.failed(settings.windowMs, lost);
    expect(await waited(policy, clock)).toBe(0);
    policy.failed(settings.windowMs, new GatewayError('SERVER_EXITED', 'the server ended'));
    expect(await waited(policy, clock)).toBe(1_000);
  });

  test('has failed once when it has forgotten all its sessions, however many notice that', async () => {
    const { policy, clock } = createPolicy();
    const lost = new GatewayError('SESSION_LOST', 'the server no longer knows the session');
    await clock.advance(10_000);
    for (let session = 0; session < 2 * settings.max; session += 1) {
      expect(policy.failed(9_000, lost)).toBe('failed');
    }
    expect(await waited(policy, clock)).toBe(0);
    // Those that have begun since say that it forgets again.
    for (let time = 1; time < settings.max; time += 1) {
      await clock.advance(2);
      expect(policy.failed(1, lost)).toBe('failed');
    }
    await clock.advance(2);
    expect(policy.failed(1, lost)).toBe('crash-loop');
  });

  test('waits twice as long each time, up to the longest back-off', async () => {
    const { policy, clock } = createPolicy(0.5, { max: 100, maxBackoffMs: 6_000, windowMs: 3_600_000 });
    const waits = [];
    for (let failure = 0; failure < 5; failure += 1) {
      expect(policy.failed(0)).toBe('failed');
      waits.push(await waited(policy, clock));
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 6_000, 6_000]);
    expect(policy.restarts).toBe(5);
  });

  test.each([
    [0, 800],
    [1, 1_200],
  ])('waits a fifth shorter or longer by chance: %d', async (random, wait) => {
    const { policy, clock } = createPolicy(random);
    policy.failed(0);
    expect(await waited(policy, clock)).toBe(wait);
  });

  test('is a crash loop after more failures than allowed within the window: one try each cool-down', async () => {
    const { policy, clock } = createPolicy();
    let starts = 0;
    let untilLoop: number | undefined;
    const end = clock.now() + 600_000;
    while (clock.now() < end) {
      if ((await waited(policy, clock)) === undefined) {
        expect(policy.phase).toBe('crash-loop');
        untilLoop ??= starts;
        await clock.advance(1_000);
      } else {
        starts += 1;
        policy.failed(0);
      }
    }
    // Six until the loop, then one each five minutes.
    expect(untilLoop).toBe(6);
    expect(starts).toBe(7);
  });

  test('says in a crash loop why it failed last, and when it is tried again', async () => {
    const { policy, clock } = createPolicy(0.5, { max: 0 });
    const exit = { code: 1, stderrTail: 'no database' };
    policy.failed(0, new GatewayError('SERVER_EXITED', 'process exited with code 1', { server: 's', exit }));
    await clock.advance(10_000);
    await expect(policy.admit(never)).rejects.toMatchObject({
      code: 'CRASH_LOOP',
      message:
        '"s": the server failed more than 0 times within 60s; the next try is in 4m 50s, or start or restart it by hand; ' +
        'it last failed with: process exited with code 1',
      exit,
    });
  });

  test('leaves the crash loop by an answer, and by a start by hand', async () => {
    const { policy, clock } = createPolicy(0.5, { max: 0 });
    expect(policy.failed(0)).toBe('crash-loop');
    await expect(policy.admit(never)).rejects.toMatchObject({ code: 'CRASH_LOOP', server: 's', delivered: false });
    policy.proved();
    expect(await waited(policy, clock)).toBe(0);
    policy.failed(0);
    policy.reset();
    expect(policy.phase).toBe('idle');
  });

  test('starts anew with the shortest wait after it has lived for the window', async () => {
    const { policy, clock } = createPolicy();
    policy.failed(0);
    policy.failed(0);
    policy.failed(60_000);
    expect(await waited(policy, clock)).toBe(1_000);
  });

  test.each([1, 0])(
    'may be tried at once when no start was made of the try before, at most %d failures',
    async (max) => {
      const { policy, clock } = createPolicy(0.5, { max });
      policy.failed(0);
      await clock.advance(settings.cooldownMs);
      const giveBack = await policy.admit(never);
      expect(policy.restarts).toBe(1);
      giveBack();
      expect(policy.restarts).toBe(0);
      const again = await policy.admit(never);
      expect(policy.restarts).toBe(1);
      // What has failed meanwhile is not undone.
      policy.failed(0);
      again();
      expect(await waited(policy, clock)).not.toBe(0);
    },
  );

  test('that is tried in vain lets the next one go on', async () => {
    const { policy, clock } = createPolicy();
    policy.failed(0);
    await clock.advance(1_000);
    const giveBack = await policy.admit(never);
    let admitted = false;
    void policy.admit(never).then(() => {
      admitted = true;
    });
    await settle();
    expect(admitted).toBe(false);
    giveBack();
    await settle();
    expect(admitted).toBe(true);
    expect(clock.waiting).toBe(0);
  });

  test('is not started by many at once: they are let through one by one, until one has proved that it works', async () => {
    const { policy, clock } = createPolicy();
    policy.failed(0);
    let admitted = 0;
    for (let caller = 0; caller < 10; caller += 1) {
      void policy.admit(never).then(() => {
        admitted += 1;
      });
    }
    await clock.advance(1_000);
    expect(admitted).toBe(1);
    await clock.advance(1_000);
    expect(admitted).toBe(2);
    policy.proved();
    await settle();
    expect(admitted).toBe(10);
    expect(clock.waiting).toBe(0);
  });

  test('a start that nobody waits for any more leaves no timer', async () => {
    const { policy, clock } = createPolicy();
    policy.failed(0);
    const abort = new AbortController();
    const admitting = policy.admit(abort.signal);
    abort.abort(new Error('enough'));
    await expect(admitting).rejects.toThrow('enough');
    expect(clock.waiting).toBe(0);
  });
});

describe('places', () => {
  test('are given first come first served, and given back once', async () => {
    const clock = new FakeClock();
    const places = new Places('limits.starting', 1, clock);
    const first = await places.take('a', 1_000, never);
    const order: string[] = [];
    const second = places.take('b', 1_000, never).then((place) => {
      order.push('b');
      return place;
    });
    const third = places.take('c', 1_000, never).then((place) => {
      order.push('c');
      return place;
    });
    first();
    first();
    await settle();
    expect(order).toEqual(['b']);
    (await second)();
    (await third)();
    expect(order).toEqual(['b', 'c']);
    expect(clock.waiting).toBe(0);
  });

  test('are waited for no longer than said', async () => {
    const clock = new FakeClock();
    const places = new Places('limits.starting', 0, clock);
    const waiting = expect(places.take('a', 1_000, never)).rejects.toMatchObject({
      code: 'LIMIT_REACHED',
      server: 'a',
    });
    await clock.advance(1_000);
    await waiting;
    const abort = new AbortController();
    const aborted = places.take('a', 1_000, abort.signal);
    abort.abort(new Error('enough'));
    await expect(aborted).rejects.toThrow('enough');
    await expect(places.take('a', 1_000, abort.signal)).rejects.toThrow('enough');
    expect(clock.waiting).toBe(0);
  });
});

test('an instance goes from phase to phase, each told once, and never out of an end', () => {
  const seen: Transition[] = [];
  const machine = new PhaseMachine({ onTransition: (transition) => seen.push(transition) });
  for (const phase of [
    'ready',
    'starting',
    'starting',
    'pulling',
    'starting',
    'ready',
    'stopping',
    'failed',
    'starting',
  ] as const) {
    machine.enter(phase);
  }
  expect(seen.map(({ from, to }) => `${from} ${to}`)).toEqual([
    'idle starting',
    'starting pulling',
    'pulling starting',
    'starting ready',
    'ready stopping',
    'stopping failed',
  ]);
});
