import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type CatalogInput,
  createGateway,
  type Gateway,
  type GatewayCatalog,
  InProcessRuntime,
} from '../../src/index.js';
import { ScriptedServer } from '../endpoint/scripted-server.js';
import { TestCaller } from '../endpoint/test-caller.js';
import { count } from '../support/counts.js';
import { FakeClock } from '../support/fake-clock.js';

const runs = count(300, 3_000);
const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31);

const servers = Array.from(
  { length: 4 },
  (_, index) =>
    new ScriptedServer({
      tools: [{ name: 'x' }, { name: `of-${index}` }],
      on: {
        'tools/call': (_, { context }) => ({ content: [], structuredContent: { of: index, env: context.env } }),
      },
      resources: [
        { uri: `file:///${index}`, name: 'own' },
        { uri: 'file:///common', name: 'common' },
      ],
    }),
);

/** Another word for in-process. */
class SameRuntime extends InProcessRuntime {
  override readonly type = 'same' as 'in-process';
}

const entry = fc.record(
  {
    id: fc.constantFrom('a', 'b', 'c', 'd'),
    runtime: fc.record({
      type: fc.constantFrom('in-process', 'same'),
      server: fc.constantFrom(...servers.map((server) => server.runtime.server)),
    }),
    display_name: fc.constantFrom('One', 'Two'),
    tags: fc.constantFrom([], ['t']),
    env: fc.constantFrom({}, { V: '1' }, { V: '2' }),
    enabled: fc.boolean(),
    isolation: fc.constantFrom('caller', 'shared', 'principal', 'request'),
    idle_timeout: fc.constantFrom('1m', '60s', '5m'),
    tools: fc.constantFrom({}, { allow: ['x'] }, { deny: ['x'] }),
    on_reload: fc.constantFrom('drain', 'now', 'keep'),
  },
  { requiredKeys: ['id', 'runtime'] },
);
const catalog = fc
  .uniqueArray(entry, { selector: ({ id }) => id })
  .map((entries) => ({ servers: entries }) as unknown as CatalogInput);
// Somebody may use what there is between two reloads, or while the next one comes, so many turns later.
const use = fc.oneof(fc.constantFrom('no', 'before'), fc.nat({ max: 12 }));
const sequence = fc.array(fc.record({ catalog, use }), { minLength: 2, maxLength: 6 });

test(`a gateway after many reloads is like a fresh one of the last catalog: ${runs} sequences`, {
  timeout: 900_000,
}, async () => {
  console.log(`seed ${seed}: repeat with TEST_SEED`);
  await fc.assert(
    fc.asyncProperty(sequence, async (steps) => {
      const clock = new FakeClock();
      const [first, ...others] = steps.map((step) => step.catalog) as [CatalogInput, ...CatalogInput[]];
      const gateway = open(first, clock);
      const callers = {
        all: await TestCaller.open(gateway.connect()),
        tagged: await TestCaller.open(gateway.connect({ tags: ['t'] })),
      };
      for (const [index, next] of others.entries()) {
        const when = steps[index]?.use ?? 'no';
        // What a reload cuts short may fail.
        const using = when === 'no' ? undefined : useAll(callers.all, clock).catch(() => {});
        if (when === 'before') {
          await using;
        }
        for (let turn = 0; turn < Number(when); turn += 1) {
          await Promise.resolve();
        }
        const reloading = gateway.reload(next as GatewayCatalog);
        await clock.advance(10_000);
        await Promise.all([reloading, using]);
      }
      const fresh = open(others.at(-1) ?? first, clock);
      const freshCallers = {
        all: await TestCaller.open(fresh.connect()),
        tagged: await TestCaller.open(fresh.connect({ tags: ['t'] })),
      };
      expect(describe(gateway)).toEqual(describe(fresh));
      for (const who of ['all', 'tagged'] as const) {
        // Servers that were kept may show what they were started as.
        const kept = gateway.status().some(({ stale }) => stale);
        if (!kept) {
          expect(await useAll(callers[who], clock)).toEqual(await useAll(freshCallers[who], clock));
        }
      }
      await Promise.all([gateway.close({ graceMs: 0 }), fresh.close({ graceMs: 0 }), clock.advance(60_000)]);
      expect(servers.flatMap(({ live }) => live)).toEqual([]);
      expect(clock.waiting).toBe(0);
      for (const server of servers) {
        server.instances.length = 0;
      }
    }),
    { numRuns: runs, seed, endOnFailure: true },
  );
});

function open(catalog: CatalogInput, clock: FakeClock): Gateway {
  return createGateway(catalog as GatewayCatalog<[SameRuntime]>, { clock, runtimes: [new SameRuntime()] });
}

/** All that a host sees of a gateway, apart from what runs. */
function describe(gateway: Gateway) {
  return gateway.status().map(({ id, displayName, enabled }) => ({ displayName, enabled, ...gateway.describe(id) }));
}

/** All that a caller sees: the lists, and what each tool says of its server and its environment. */
async function useAll(caller: TestCaller, clock: FakeClock) {
  const lists = Promise.all([caller.list('tools'), caller.list('resources')]);
  await clock.advance(0);
  const [tools, resources] = await lists;
  const calls = Promise.all(
    ['a', 'b', 'c', 'd']
      .flatMap((id) => [`${id}__x`, `${id}__of-1`])
      .map(async (name) => (await caller.request('tools/call', { name })).result ?? 'no such tool'),
  );
  await clock.advance(0);
  return { tools, resources, calls: await calls };
}
