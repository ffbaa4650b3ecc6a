import type { StandardSchemaV1 } from '@standard-schema/spec';
import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { unresolved } from '../../src/catalog/interpolate.js';
import { parseCatalog } from '../../src/catalog/parse-catalog.js';
import { redact } from '../../src/util/redact.js';
import { factory, invalid, one, problemsOf, resolve } from './runtimes.js';

const schema = (validate: (value: unknown) => unknown): StandardSchemaV1 =>
  ({ '~standard': { version: 1, vendor: 'test', validate } }) as StandardSchemaV1;

const withSpec = (spec: StandardSchemaV1, runtime: Record<string, unknown> = {}, env: Record<string, string> = {}) =>
  problemsOf(() =>
    resolve(one({ runtime: { ...runtime, type: 'mine' } }), env, new Map([['mine', factory('mine', spec)]])),
  );

describe('resolveCatalog refuses', () => {
  test.each([
    [undefined, /a catalog is an object with the key "servers", not undefined/],
    ['servers', /not a string/],
    [{ servers: [], extra: 1 }, /^extra: is not a known key; a catalog has the key "servers"$/],
    [{ servers: new Set() }, /^servers: must be a list of servers, not an object of class Set$/],
    [{ servers: [null] }, /^servers\[0\]: must be an object .*, not empty$/],
    [{ servers: new Array(1) }, /^servers\[0\]: must be an object .*, not undefined$/],
    [{ servers: [[]] }, /^servers\[0\]: must be an object .*, not a list$/],
    [one({ id: undefined }), /^servers\[0\]\.id: is required: add it$/],
    [one({ id: null }), /^servers\[0\]\.id: has no value/],
    [one({ id: 5 }), /^servers\[0\]\.id: must be a string: quote it, as in "5"$/],
    [one({ id: '' }), /^servers\[0\]\.id: must start with a letter or digit/],
    [one({ id: '-a' }), /^servers\[0\]\.id: must start with a letter or digit/],
    [one({ id: 'a.b' }), /^servers\[0\]\.id: must start with a letter or digit and be made of/],
    [one({ id: 'a\n' }), /^servers\[0\]\.id: must start with a letter or digit and be made of/],
    [one({ id: '${ID}' }), /^servers\[0\]\.id: must not hold "\$\{"/],
    [one({ id: 'a'.repeat(49) }), /^servers\[0\]\.id: must be at most 48 characters long, not 49$/],
    [one({ display_name: '' }), /^servers\[0\]\.display_name: must not be empty/],
    [one({ description: null }), /^servers\[0\]\.description: has no value: give it one, or leave the key out$/],
    [one({ runtime: { type: 'any', name: null } }), /^servers\[0\]\.runtime\.name: has no value/],
    [one({ runtime: { type: 'any', pod: null } }), /^servers\[0\]\.runtime\.pod: has no value/],
    [one({ runtime: { type: 'any', pod: { spec: null } } }), /^servers\[0\]\.runtime\.pod\.spec: has no value/],
    [one({ runtime: { type: 'any', pod: { spec: { volumes: [null] } } } }), /\.spec\.volumes\[0\]: has no value/],
    [one({ tags: 'db' }), /^servers\[0\]\.tags: must be a list, not a string$/],
    [one({ env: ['A=b'] }), /^servers\[0\]\.env: must be an object, not a list$/],
    [one({ env: { A: 'a\0b' } }), /^servers\[0\]\.env\.A: holds a NUL character/],
    [one({ env: { 'A\0': 'b' } }), /^servers\[0\]\.env\["A\\u0000"\]: the key holds a NUL character/],
    [
      one({ env: JSON.parse('{"__proto__": "x"}') }),
      /^servers\[0\]\.env\.__proto__: the key "__proto__" is not allowed/,
    ],
    [
      one({ runtime: 'docker' }),
      /^servers\[0\]\.runtime: must be an object that holds the type, as in \{ type: docker \}, not a string$/,
    ],
    [one({ runtime: {} }), /^servers\[0\]\.runtime\.type: is required: add it$/],
    [one({ runtime: { type: 5 } }), /^servers\[0\]\.runtime\.type: must be a string: quote it, as in "5"$/],
    [one({ idle_timeout: '5' }), /^servers\[0\]\.idle_timeout: must be a duration such as "500ms", .*, or 0$/],
    [one({ idle_timeout: -1 }), /^servers\[0\]\.idle_timeout: must be a duration/],
    [one({ idle_timeout: '1000d' }), /^servers\[0\]\.idle_timeout: must not be longer than "24d"$/],
    [one({ start_timeout: 0 }), /^servers\[0\]\.start_timeout: must be longer than 0, such as "30s"$/],
    [one({ start_timeout: '0s' }), /^servers\[0\]\.start_timeout: must be longer than 0, such as "30s"$/],
    [one({ request_timeout: '5 m' }), /^servers\[0\]\.request_timeout: must be a duration/],
    [one({ max_message: 16 }), /^servers\[0\]\.max_message: must be at least "1KiB"$/],
    [one({ max_message: '1B' }), /^servers\[0\]\.max_message: must be at least "1KiB"$/],
    [one({ max_message: '1GiB' }), /^servers\[0\]\.max_message: must be at most "256MiB"$/],
    [one({ env: new Map() }), /^servers\[0\]\.env: must be an object, not an object of class Map$/],
    [one({ env: new (class {})() }), /^servers\[0\]\.env: must be an object, not one such as process\.env: spread it$/],
    [one({ restart: [] }), /^servers\[0\]\.restart: must be an object, not a list$/],
    [one({ restart: { max: 1.5 } }), /^servers\[0\]\.restart\.max: must be a whole number, at least 0$/],
    [one({ restart: { max: '5' } }), /^servers\[0\]\.restart\.max: must be a whole number, at least 0$/],
    [
      one({ restart: { backoff: '1m', max_backoff: '30s' } }),
      /^servers\[0\]\.restart\.max_backoff: must not be shorter/,
    ],
    [
      one({ restart: { backoff: '1s', max_backoff: 0 } }),
      /max_backoff: must not be shorter than backoff, which is "1s"$/,
    ],
    [one({ health: { failures: 0 } }), /^servers\[0\]\.health\.failures: must be a whole number, at least 1$/],
    [one({ protocol: 'modrn' }), /^servers\[0\]\.protocol: must be one of .*; did you mean "modern"\?$/],
    [one({ tools: { alow: [] } }), /^servers\[0\]\.tools\.alow: is not a known key; did you mean "allow"\?$/],
    [one({ displayName: 'x' }), /^servers\[0\]\.displayName: is not a known key; did you mean "display_name"\?$/],
    [one({ qwertyuiop: 1 }), /^servers\[0\]\.qwertyuiop: is not a known key; known are id, display_name/],
  ])('%j', async (catalog, problem) => {
    expect(await problemsOf(() => resolve(catalog))).toContainEqual(expect.stringMatching(problem));
  });

  test('ids that differ only in case', async () => {
    const catalog = {
      servers: [...one({ id: 'Db' }).servers, ...one({ id: 'b' }).servers, ...one({ id: 'dB' }).servers],
    };
    expect(await problemsOf(() => resolve(catalog))).toEqual([
      expect.stringMatching(/^servers\[2\]\.id: is taken by servers\[0\]/),
    ]);
  });

  test('a runtime that is not registered, and says which are', async () => {
    const runtime = { type: 'dokcer', image: 'x' };
    expect(await problemsOf(() => resolve(one({ runtime })))).toEqual([
      'servers[0].runtime.type: unknown runtime type "dokcer"; did you mean "docker"? (registered are "local-process", "remote-sse", "docker", "k8s-job", "k8s-service")',
    ]);
    expect(await problemsOf(() => resolve(one({ runtime }), {}, new Map()))).toEqual([
      expect.stringContaining('(none is registered)'),
    ]);
    expect(await problemsOf(() => resolve(one({ runtime: { type: 'constructor' } })))).toEqual([
      expect.stringContaining('unknown runtime type "constructor" (registered'),
    ]);
  });

  test('env where the runtime takes none', async () => {
    const entry = { env: {}, runtime: { type: 'remote-sse', url: 'https://a.example' } };
    expect(await problemsOf(() => resolve(one(entry)))).toEqual([
      expect.stringMatching(/^servers\[0\]\.env: is not possible here: a remote-sse runtime/),
    ]);
  });

  test('problems of envelopes, variables and specs of all entries in one error', async () => {
    const text = `servers:
  - id: a
    isolaton: shared
    runtime:
      type: local-process
      comand: x
      workingdir: 5
      args: [1, "\${NOPE}", "\${"]
  - id: b
    runtime:
      type: docker
      image: x
      volumes: [/a:/b, { source: /a, taget: /b }]
  - id: c
    runtime: { type: k8s-job, namespace: n, image: i, resources: { limts: {}, requests: { cpu: 1 } } }
`;
    const catalog = await parseCatalog(text).catch(() =>
      parseCatalog(text.replace(', "${"', '').replace('isolaton: shared', 'tags: []')),
    );
    expect(await problemsOf(() => resolve(catalog))).toEqual([
      'servers[0].runtime.args[1] (8:17): needs the environment variable NOPE, which is not set: set it, or write ${NOPE:-default}',
      'servers[0].runtime.comand (6:7): is not a known key; did you mean "command"?',
      'servers[0].runtime.workingdir (7:7): is not a known key; did you mean "working_dir"?',
      'servers[0].runtime.command (5:7): is required: add it',
      'servers[0].runtime.args[0] (8:14): must be a string: quote it, as in "1"',
      'servers[1].runtime.volumes[1].taget (13:38): is not a known key; did you mean "target"?',
      'servers[1].runtime.volumes[1].target (13:24): is required: add it',
      'servers[2].runtime.resources.limts (15:68): is not a known key; did you mean "limits"?',
      'servers[2].runtime.resources.requests.cpu (15:96): must be a string: quote it, as in "1"',
    ]);
  });

  test('a thousand problems and counts the rest', async () => {
    const error = await invalid(() => resolve({ servers: Array.from({ length: 1500 }, () => 5) }));
    expect(error.message).toContain('is not valid, 1500 problems:\n');
    expect(error.issues).toHaveLength(1001);
    expect(error.message).toMatch(/and 500 more problems$/);
  });

  test('many problems of one list, in no time', async () => {
    const items = v.array(v.strictObject({ kind: v.optional(v.picklist(['one'])) }));
    const some = new Map([['some', factory('some', v.strictObject({ items }))]]);
    const judge = (item: object) =>
      resolve({ servers: [{ id: 'a', runtime: { type: 'some', items: Array(20_000).fill(item) } }] }, unresolved, some);
    const before = process.cpuUsage().user;
    const unknown = await invalid(() => judge({ x: 1 }));
    expect(unknown.message).toContain('is not valid, 20000 problems:\n');
    const later = await invalid(() => judge({ kind: '${A}' }));
    expect(later.issues?.[0]?.message).toMatch(/^must be "one"; variables are looked up at each start/);
    // Minutes where each problem is compared with all others.
    expect(process.cpuUsage().user - before).toBeLessThan(10_000_000);
  });

  test('objects that cannot be read or have no end', async () => {
    const secret = 'canary';
    const getter = {
      get tags(): string[] {
        throw new Error(secret);
      },
    };
    const proxy = new Proxy(
      {},
      {
        ownKeys() {
          throw new Error(secret);
        },
      },
    );
    const cycle: Record<string, unknown> = {};
    cycle.self = cycle;
    expect(
      await problemsOf(() =>
        resolve({
          servers: [Object.defineProperties(one({}).servers[0] ?? {}, Object.getOwnPropertyDescriptors(getter)), proxy],
        }),
      ),
    ).toEqual([
      'servers[0]: cannot be read: reading one of its properties threw an error',
      'servers[1]: cannot be read: reading one of its properties threw an error',
    ]);
    expect(
      await problemsOf(() => resolve(one({ runtime: { type: 'local-process', command: 'x', self: cycle } }))),
    ).toContainEqual(expect.stringContaining('is nested more than 64 levels deep'));
    // Each way through it is endless: two of them double with each level.
    cycle.again = [cycle, { cycle }];
    expect(
      await problemsOf(() => resolve(one({ runtime: { type: 'local-process', command: 'x', self: cycle } }))),
    ).toContainEqual(expect.stringContaining('is nested more than 64 levels deep'));
  });
});

describe("a runtime's schema", () => {
  test('may be of any library', async () => {
    const spec = z.strictObject({ url: z.string(), list: z.array(z.object({ n: z.number() })).optional() });
    expect(await withSpec(spec, { url: 5, list: [{ n: 'x' }], extra: 1 })).toEqual([
      expect.stringMatching(/^servers\[0\]\.runtime\.url: .*expected string/),
      expect.stringMatching(/^servers\[0\]\.runtime\.list\[0\]\.n: .*expected number/),
      expect.stringMatching(/^servers\[0\]\.runtime: .*"extra"/),
    ]);
  });

  test.each([
    [
      'throws',
      schema(() => {
        throw new Error('oh no');
      }),
      'could not be checked, its schema threw: oh no',
    ],
    [
      'throws nothing',
      schema(() => {
        throw undefined;
      }),
      'could not be checked, its schema threw: undefined',
    ],
    [
      'answers later',
      schema(async () => ({ value: 1 })),
      "could not be checked, its schema answers asynchronously: a runtime's schema must be synchronous",
    ],
    [
      'rejects later',
      schema(() => Promise.reject(new Error('x'))),
      "could not be checked, its schema answers asynchronously: a runtime's schema must be synchronous",
    ],
    ['answers nothing', schema(() => undefined), 'could not be checked, its schema gave no result'],
    ['gives no reason', schema(() => ({ issues: [] })), 'is refused by its schema, which gives no reason'],
    ['gives no list', schema(() => ({ issues: 'x' })), 'is refused by its schema, which gives no reason'],
    [
      'gives keys as objects',
      schema(() => ({ issues: [{ message: 'm', path: [{ key: 'a' }, { key: 0 }] }] })),
      undefined,
    ],
  ])('that %s is a problem of the entry', async (_, spec, message) => {
    expect(await withSpec(spec)).toEqual([
      message === undefined ? 'servers[0].runtime.a[0]: m' : `servers[0].runtime: ${message}`,
    ]);
  });

  test('sees variables replaced and the type left out, and its output is the spec', () => {
    const spec = v.pipe(
      v.strictObject({ n: v.string() }),
      v.transform(({ n }) => ({ n: Number(n) })),
    );
    const [definition] = resolve(
      one({ runtime: { type: 'mine', n: '${N}' } }),
      { N: '5000' },
      new Map([['mine', factory('mine', spec)]]),
    );
    expect(definition?.runtime).toEqual({ type: 'mine', spec: { n: 5000 } });
  });

  test('gets functions and instances as they are', () => {
    const server = () => {};
    const date = new Date();
    const [definition] = resolve(
      one({ runtime: { type: 'mine', server, date } }),
      {},
      new Map([['mine', factory('mine', v.looseObject({}))]]),
    );
    expect(definition?.runtime.spec).toEqual({ server, date });
    expect(Object.values(definition?.runtime.spec ?? {})).toContain(date);
  });

  test('never puts a secret into a message', async () => {
    const canary = 'c4n4ry "quoted" /é\nsecond line of the canary';
    const foreign = schema((value) => ({
      issues: [
        {
          message: `bad ${(value as { x: string }).x} ${JSON.stringify(value)} ${encodeURIComponent((value as { x: string }).x)}`,
        },
      ],
    }));
    const throwing = schema((value) => {
      throw new Error(`bad ${(value as { x: string }).x}`);
    });
    const custom = v.object({
      x: v.pipe(
        v.string(),
        v.check(
          () => false,
          (issue) => `bad ${issue.input}`,
        ),
      ),
    });
    const plain = v.strictObject({
      x: v.pipe(v.string(), v.url(), v.maxLength(3), v.email(), v.regex(/^n/), v.startsWith('n')),
    });
    const choice = v.strictObject({ x: v.union([v.picklist(['one', 'two']), v.literal(5), v.number()]) });
    for (const spec of [foreign, throwing, custom, plain, choice, z.object({ x: z.enum(['one']) })]) {
      const problems = await withSpec(spec, { x: 'before ${CANARY} after' }, { CANARY: canary });
      expect(problems.length).toBeGreaterThan(0);
      expect(problems.join('\n')).not.toMatch(/c4n4ry|canary/);
    }
    expect((await withSpec(foreign, { x: '${CANARY}' }, { CANARY: canary }))[0]).toMatch(/: bad \$\{CANARY\} /);
  });

  test('does not make messages endless', async () => {
    const [problem] = await withSpec(schema(() => ({ issues: [{ message: 'x'.repeat(100_000) }] })));
    expect(problem?.length).toBeLessThan(600);
  });
});

describe('resolveCatalog fills in', () => {
  test('every default', () => {
    expect(resolve(one({}))).toEqual([
      {
        id: 'a',
        displayName: 'a',
        description: undefined,
        tags: [],
        enabled: true,
        env: {},
        runtime: { type: 'local-process', spec: { command: 'x' } },
        baseDir: '/host',
        isolation: 'caller',
        idleTimeoutMs: 300_000,
        startTimeoutMs: 30_000,
        pullTimeoutMs: 600_000,
        requestTimeoutMs: 600_000,
        maxLifetimeMs: 0,
        listTimeoutMs: 10_000,
        maxMessageBytes: 16_777_216,
        onReload: 'drain',
        restart: { max: 5, windowMs: 60_000, backoffMs: 1000, maxBackoffMs: 30_000, cooldownMs: 300_000 },
        health: { intervalMs: 30_000, timeoutMs: 5000, failures: 3 },
        protocol: 'auto',
        tools: { allow: undefined, deny: [] },
        secrets: new Map(),
        variablesAt: [],
        withVariables: undefined,
      },
    ]);
  });

  test('what the entry says', () => {
    const [definition] = resolve(
      one({
        display_name: '${TEAM} DB',
        description: 'd',
        tags: ['t'],
        enabled: false,
        env: { A: '${TEAM}' },
        isolation: '${ISO}',
        idle_timeout: 0,
        start_timeout: '1.5s',
        pull_timeout: '2h',
        request_timeout: '500ms',
        max_lifetime: '1d',
        list_timeout: '1m',
        max_message: '64KiB',
        on_reload: 'keep',
        restart: { max: 0, window: '1s', backoff: '1m', cooldown: '0' },
        health: { interval: 0, timeout: '1s', failures: 1 },
        protocol: 'legacy',
        tools: { allow: ['q*'], deny: ['d*'] },
      }),
      { TEAM: 'Orders', ISO: 'shared' },
    );
    expect(definition).toMatchObject({
      displayName: 'Orders DB',
      description: 'd',
      tags: ['t'],
      enabled: false,
      env: { A: 'Orders' },
      isolation: 'shared',
      idleTimeoutMs: 0,
      startTimeoutMs: 1500,
      pullTimeoutMs: 7_200_000,
      requestTimeoutMs: 500,
      maxLifetimeMs: 86_400_000,
      listTimeoutMs: 60_000,
      maxMessageBytes: 65_536,
      onReload: 'keep',
      restart: { max: 0, windowMs: 1000, backoffMs: 60_000, maxBackoffMs: 60_000, cooldownMs: 0 },
      health: { intervalMs: 0, timeoutMs: 1000, failures: 1 },
      protocol: 'legacy',
      tools: { allow: ['q*'], deny: ['d*'] },
    });
  });

  test('secrets: variables, and literals under keys that look like credentials', () => {
    const [definition] = resolve(
      one({
        env: {
          A: '${LONG}',
          B: '${TINY}',
          API_KEY: 'literal-key',
          PORT: '54321',
          D: '${DB_PASSWORD:-devpassword}',
          E: '${HOST:-localhost}',
        },
        runtime: { type: 'local-process', command: 'x', args: ['--dsn', 'postgres://me:hunter22@db/x', '${ARG}'] },
      }),
      { LONG: 'longvalue', TINY: 'abc', ARG: 'argument' },
    );
    expect(definition?.secrets).toEqual(
      new Map([
        ['longvalue', '${LONG}'],
        ['literal-key', '${API_KEY}'],
        ['devpassword', '${DB_PASSWORD}'],
        ['hunter22', '${1 password}'],
        ['argument', '${ARG}'],
      ]),
    );
    const urls = resolve(
      one({
        env: { A: 'db://u:p%40ss@h', B: 'db://u:p^s"s@h', C: 'db://u:${PW}x${PW}@h', D: 'db://u:hunter22@${HOST}/x' },
        runtime: { type: 'local-process', command: 'x' },
      }),
      { PW: 'pass', HOST: 'host.example' },
    );
    const seen = redact('p%40ss p@ss p^s"s p%5Es%22s passxpass hunter22 host.example', urls[0]?.secrets ?? new Map());
    expect(seen).toBe('${A password} ${A password} ${B password} ${B password} ${C password} ${D password} ${HOST}');
    const [fallback] = resolve(one({ env: { API_KEY: '${KEY_OF_X:-literal-key}', A: '${B:-default}' } }));
    expect([...(fallback?.secrets ?? [])]).toEqual([['literal-key', '${API_KEY}']]);
    const headers = { Authorization: 'Bearer abcdef', 'X-Tenant': 'tenant' };
    const [remote] = resolve(one({ runtime: { type: 'remote-sse', url: 'https://a.example', headers } }));
    expect([...(remote?.secrets.keys() ?? [])]).toEqual(['Bearer abcdef', 'abcdef']);
  });
});

test('messages show no value that may be a secret', async () => {
  const spec = v.strictObject({ headers: v.record(v.string(), v.string()) });
  const entry = {
    env: { PGPASSWORD: 12345678, PORT: 5432 },
    restart: { backoff: '${BACKOFF}', max_backoff: '1s' },
    runtime: { type: 'mine', headers: { Authorization: 87654321, 'X-Tenant': 1234 } },
  };
  const mine = new Map([['mine', factory('mine', spec)]]);
  expect(await problemsOf(() => resolve(one(entry), { BACKOFF: '98765s' }, mine))).toEqual([
    'servers[0].env.PGPASSWORD: must be a string: quote it',
    'servers[0].env.PORT: must be a string: quote it, as in "5432"',
    'servers[0].restart.max_backoff: must not be shorter than backoff, which is "${BACKOFF}"',
    'servers[0].runtime.headers.Authorization: must be a string: quote it',
    'servers[0].runtime.headers.X-Tenant: must be a string: quote it, as in "1234"',
  ]);
});

describe('entries of a parsed catalog', () => {
  const text =
    'servers:\n  - id: a\n    tags: [x]\n    env: { A: "${NOPE}" }\n    runtime:\n      type: local-process\n      command: x\n      args: [y]\n';

  test('keep their places in another catalog', async () => {
    const parsed = await parseCatalog(text);
    const [entry] = parsed.servers;
    const places = async (servers: unknown[]) =>
      (await invalid(() => resolve({ servers }))).issues?.map(({ path, line, column }) => [path, line, column]);
    expect(await places([...one({ id: 'b', tags: 5 }).servers, ...parsed.servers])).toEqual([
      ['servers[0].tags', undefined, undefined],
      ['servers[1].env.A', 4, 15],
    ]);
    expect(await places([{ ...entry, tags: 5 }]), 'what is new has the place of the entry').toEqual([
      ['servers[0].env.A', 4, 15],
      ['servers[0].tags', 2, 5],
    ]);
    expect(await places([{ ...entry, env: undefined, runtime: { ...entry?.runtime, command: 5 } }])).toEqual([
      ['servers[0].runtime.command', 6, 7],
    ]);
  });

  test('are not confused with what only looks like them', async () => {
    const parsed = await parseCatalog(text);
    const copy = structuredClone(parsed);
    const [issue] = (await invalid(() => resolve(copy))).issues ?? [];
    expect(issue).not.toHaveProperty('line');
  });
});
