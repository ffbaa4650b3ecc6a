import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { createGateway, type Gateway, type GatewayEvent, type ServerInput } from '../../src/index.js';
import type { Json } from '../endpoint/scripted-server.js';
import { setUp } from '../endpoint/setup.js';
import { settle } from '../support/fake-clock.js';

const script = { tools: [{ name: 'x' }], on: { 'tools/call': () => ({}) } };
const entry = (id: string, more: Json = {}): ServerInput<{ type: 'scripted'; script: string }> => ({
  id,
  env: { TOKEN: '${TOKEN}' },
  runtime: { type: 'scripted', script: id },
  ...more,
});
const start = (env: () => unknown, ids = ['a'], more: Json = {}) =>
  setUp(Object.fromEntries(ids.map((id) => [id, script])), {
    entry: { env: { TOKEN: '${TOKEN}' }, ...more },
    env: env as () => Record<string, string>,
  });
const x = (id: string): [string, Json] => ['tools/call', { name: `${id}__x` }];

describe('env as a function', () => {
  test.each([
    ['an async', async (values: unknown) => values],
    ['a sync', (values: unknown) => values],
  ])('%s one is called when a server starts, and what runs keeps what it has', async (_name, give) => {
    let token = 'first';
    let calls = 0;
    await using t = start(() => {
      calls += 1;
      return give({ TOKEN: token });
    });
    expect(calls).toBe(0);
    await using one = await t.caller();
    await one.result(...x('a'));
    token = 'second';
    await using two = await t.caller();
    await two.result(...x('a'));
    await one.result(...x('a'));
    expect(t.server('a').live.map(({ context }) => context.env.TOKEN)).toEqual(['first', 'second']);
    await t.gateway.restart('a', { graceMs: 0 });
    expect(calls).toBe(3);
  });

  test('starts at the same time share one call; the next start makes another one', async () => {
    const calls: PromiseWithResolvers<unknown>[] = [];
    const ask = () => {
      const call = Promise.withResolvers<unknown>();
      calls.push(call);
      return call.promise;
    };
    await using t = start(ask, ['a', 'b', 'c']);
    const starting = Promise.all(['a', 'b'].map((id) => t.gateway.start(id)));
    await settle();
    expect(calls).toHaveLength(1);
    calls[0]?.resolve({ TOKEN: 'first' });
    await starting;
    const last = t.gateway.start('c');
    await settle();
    expect(calls).toHaveLength(2);
    calls[1]?.resolve({ TOKEN: 'second' });
    await last;
    expect(['a', 'b', 'c'].map((id) => t.server(id).only.context.env.TOKEN)).toEqual(['first', 'first', 'second']);
  });

  test('one that never answers fails the start in time, and holds up no later one', async () => {
    let calls = 0;
    await using t = start(() => {
      calls += 1;
      return calls === 1 ? new Promise(() => {}) : { TOKEN: 'there' };
    });
    const failed = t.gateway.start('a').catch((error: unknown) => error);
    await settle();
    await t.clock.advance(30_000);
    expect(await failed).toMatchObject({ code: 'START_TIMEOUT', server: 'a', delivered: false });
    await t.gateway.start('a');
    expect(t.server('a').only.context.env).toEqual({ TOKEN: 'there' });
  });

  test('a stop ends the wait for it, and nothing is started by what comes too late', async () => {
    const call = Promise.withResolvers<unknown>();
    await using t = start(() => call.promise);
    const failed = t.gateway.start('a').catch((error: unknown) => error);
    await settle();
    await t.gateway.stop('a', { graceMs: 0 });
    expect(await failed).toMatchObject({ code: 'SERVER_STOPPED' });
    call.resolve({ TOKEN: 'late' });
    await settle();
    expect(t.server('a').opens).toBe(0);
  });

  test.each([
    [
      'throws',
      () => {
        throw new Error('no access with hunter2-secret');
      },
      'the env function of the host failed',
    ],
    [
      'rejects',
      async () => {
        throw new Error('no access with hunter2-secret');
      },
      'the env function of the host failed',
    ],
    ['returns nothing', async () => undefined, 'returned no object'],
    [
      'leaves the variable unset',
      async () => ({ OTHER: 'hunter2-secret' }),
      'env.TOKEN: needs the environment variable TOKEN, which is not set',
    ],
    [
      'gives a value that does not fit',
      async () => ({ TOKEN: 'hunter2-secret\0' }),
      'env.TOKEN: holds a NUL character',
    ],
  ])('one that %s fails that start alone, and shows no value', async (_name, ask, message) => {
    let good = false;
    await using t = start(() => (good ? { TOKEN: 'good' } : ask()));
    const error = await t.gateway.start('a').catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'START_FAILED', server: 'a', delivered: false });
    expect(String(error)).toContain(message);
    expect(t.gateway.status('a')).toMatchObject({ phase: 'failed', lastError: { code: 'START_FAILED' } });
    const check = await t.gateway.check('a');
    expect(check).toMatchObject([{ server: 'a', ok: false }]);
    expect(String(check[0]?.problems)).toContain(message);
    const shown = inspect([error, t.gateway.status(), check, t.events], { depth: 12, showHidden: true });
    expect(shown).not.toContain('hunter2');
    expect(t.server('a').opens).toBe(0);
    good = true;
    await t.gateway.start('a');
    expect((await t.gateway.check('a'))[0]).toMatchObject({ ok: true });
    expect(t.server('a').only.context.env).toEqual({ TOKEN: 'good' });
  });

  test('is not called for an entry without variables', async () => {
    const never = () => {
      throw new Error('called');
    };
    await using t = start(never, ['a'], { env: { TOKEN: 'plain', NAME: '$${NAME}' } });
    await t.gateway.start('a');
    expect(t.server('a').only.context.env).toEqual({ TOKEN: 'plain', NAME: '${NAME}' });
  });

  test('a reload compares the catalog, not the values, and sees an escape and a default that changed', async () => {
    let token = 'first';
    await using t = start(() => ({ TOKEN: token }));
    await t.gateway.start('a');
    token = 'second';
    expect((await t.gateway.reload({ servers: [entry('a')] })).unchanged).toEqual(['a']);
    expect(t.server('a').only.context.env).toEqual({ TOKEN: 'first' });
    for (const value of ['$${TOKEN}', '${TOKEN:-none}', '${TOKEN:-nothing}', '${TOKEN}']) {
      expect((await t.gateway.reload({ servers: [entry('a', { env: { TOKEN: value } })] })).changed).toEqual(['a']);
    }
    await t.gateway.start('a');
    expect(t.server('a').only.context.env).toEqual({ TOKEN: 'second' });
  });

  test('a default stands in, and what the host does to its catalog afterwards does not count', async () => {
    const env: Record<string, string> = { TOKEN: '${TOKEN:-none}' };
    await using t = start(() => ({}), ['a'], { env });
    env.TOKEN = 'other';
    await t.gateway.start('a');
    expect(t.server('a').only.context.env).toEqual({ TOKEN: 'none' });
  });

  test('the catalog is checked at once, and a variable that nothing could look up or judge is refused', () => {
    const create = (more: Json) => () =>
      createGateway({ servers: [{ id: 'a', runtime: { type: 'local-process', command: 'x' }, ...more }] } as never, {
        env: () => ({}),
      });
    expect(create({ env: { A: '${A' } })).toThrow('servers[0].env.A: has a "${" without a "}"');
    expect(create({ tools: { deny: ['${A}'] } })).toThrow('servers[0].tools.deny[0]: may not hold a variable');
    expect(create({ runtime: { type: 'remote-sse', url: '${A}' } })).toThrow(
      /servers\[0\]\.runtime\.url: .*variables are looked up at each start .* write the value out/,
    );
    expect(create({ runtime: { type: 'local-process', comand: 'x' } })).toThrow('did you mean');
  });
});

// Writes what it was given to stderr as soon as anybody speaks, and dies.
const tell =
  'process.stdin.once("data", () => process.stderr.write([process.env.TOKEN, process.argv[1]].join(" "), () => process.exit(3)))';

async function lastWords(gateway: Gateway, meanwhile: () => Promise<unknown>): Promise<Error> {
  const transport = gateway.connect('a');
  const ended = new Promise<Error>((resolve) => {
    transport.onerror = resolve;
  });
  await transport.start();
  await meanwhile();
  await transport.send({ jsonrpc: '2.0', id: 1, method: 'ping' });
  return ended;
}

test('neither the old nor the new value shows, in whatever order their servers end', async () => {
  const tokens = ['OldCanary-0123456789', 'NewCanary-0123456789'];
  let rotations = 0;
  const events: GatewayEvent[] = [];
  await using gateway = createGateway(
    {
      servers: [
        {
          id: 'a',
          env: { TOKEN: '${TOKEN}' },
          runtime: { type: 'local-process', command: process.execPath, args: ['-e', tell, 'Bearer ${TOKEN}'] },
        },
      ],
    },
    { env: async () => ({ TOKEN: tokens[rotations++] }), onEvent: (event) => events.push(event) },
  );
  const described = inspect(gateway.describe('a'), { depth: 12 });
  expect(described).toContain('Bearer ${TOKEN}');
  let later: Error | undefined;
  const earlier = await lastWords(gateway, async () => {
    later = await lastWords(gateway, async () => {});
  });
  expect(rotations).toBe(2);
  for (const error of [earlier, later]) {
    expect(error).toMatchObject({ code: 'SERVER_EXITED', exit: { stderrTail: '${TOKEN} Bearer ${TOKEN}' } });
  }
  expect(inspect(gateway.describe('a'), { depth: 12 })).toBe(described);
  const shown = inspect([earlier, later, events, gateway.status(), described], { depth: 12, showHidden: true });
  expect(shown).not.toContain('Canary');
});
