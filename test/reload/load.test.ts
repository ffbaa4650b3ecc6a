import { expect, test } from 'vitest';
import { createGateway, type ServerInput } from '../../src/index.js';
import { hold, ScriptedServer } from '../endpoint/scripted-server.js';
import { TestCaller } from '../endpoint/test-caller.js';
import { count } from '../support/counts.js';
import { FakeClock, settle } from '../support/fake-clock.js';
import { createRandom } from '../support/random.js';

const reloads = count(150, 1_000);
const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31);
const entries = 20;
const changedEach = entries / 10;
const callMs = 20;

/** Of what the catalog says at a moment: how often each entry has changed, and how it reloads. */
interface Version {
  readonly number: number;
  readonly onReload: 'drain' | 'keep' | 'now';
}

test(`${reloads} reloads under 50 calls a second: no call of an unchanged entry is lost, each of a changed one is answered once`, {
  timeout: 900_000,
}, async () => {
  console.log(`seed ${seed}: repeat with TEST_SEED`);
  const random = createRandom(seed);
  const clock = new FakeClock();
  // Takes its time for an answer, so that calls are open when a reload comes.
  const servers = Array.from(
    { length: entries },
    () =>
      new ScriptedServer({
        tools: [{ name: 'x' }],
        on: {
          'tools/call': (request, instance) => {
            clock.setTimeout(() => instance.closed || instance.answer(request, { env: instance.context.env }), 30);
            return hold as never;
          },
        },
      }),
  );
  const versions: Version[] = servers.map(() => ({ number: 0, onReload: 'drain' }));
  const catalog = () => ({
    servers: versions.map(
      ({ number, onReload }, index): ServerInput => ({
        id: `s${index}`,
        on_reload: onReload,
        isolation: index % 2 === 0 ? 'shared' : 'caller',
        env: { VERSION: String(number) },
        runtime: (servers[index] as ScriptedServer).runtime,
      }),
    ),
  });
  const gateway = createGateway(catalog() as never, { clock });
  const caller = await TestCaller.open(gateway.connect());
  const open: { readonly index: number; readonly version: number; readonly id: number }[] = [];
  const call = (index: number) => {
    const id = 10_000 + open.length;
    open.push({ index, version: (versions[index] as Version).number, id });
    void caller.send({ id, method: 'tools/call', params: { name: `s${index}__x` } });
  };
  /** Entries whose reload may end a call: each change, with the number of calls that were made before it. */
  const changes: { readonly index: number; readonly before: number }[] = [];
  const reloading: Promise<unknown>[] = [];
  for (let reload = 0; reload < reloads; reload += 1) {
    for (let made = 0; made < 3; made += 1) {
      call(Math.floor(random() * entries));
      await clock.advance(callMs);
    }
    for (let changed = 0; changed < changedEach; changed += 1) {
      const index = Math.floor(random() * entries);
      const { number } = versions[index] as Version;
      const onReload = (['drain', 'keep', 'now'] as const)[Math.floor(random() * 3)] as Version['onReload'];
      versions[index] = { number: number + 1, onReload };
      changes.push({ index, before: open.length });
    }
    reloading.push(gateway.reload(catalog() as never));
  }
  await clock.advance(60_000);
  await Promise.all(reloading);
  await settle();
  let lost = 0;
  for (const { index, version, id } of open) {
    const answers = caller.answers(id);
    expect(answers, `call ${id} to s${index}`).toHaveLength(1);
    const { result, error } = answers[0] as { result?: { env: { VERSION: string } }; error?: { data?: object } };
    if (result !== undefined) {
      // Never of an older catalog than the one of its time, unless that one keeps its servers.
      expect(Number(result.env.VERSION)).toBeGreaterThanOrEqual(0);
      expect(Number(result.env.VERSION)).toBeLessThanOrEqual((versions[index] as Version).number);
      continue;
    }
    lost += 1;
    expect(error).toMatchObject({ data: { code: 'SERVER_STOPPED' } });
    // Only a change that came while it was open may have ended it.
    const near = changes.filter(
      (change) => change.index === index && change.before > id - 10_000 && change.before <= id - 10_000 + 4,
    );
    expect(near.length, `call ${id} to s${index} of version ${version} was ended without a change`).toBeGreaterThan(0);
  }
  expect(lost).toBeLessThan(open.length / 10);
  await Promise.all([gateway.close({ graceMs: 0 }), clock.advance(60_000)]);
  expect(servers.flatMap(({ live }) => live)).toEqual([]);
  expect(clock.waiting).toBe(0);
});
