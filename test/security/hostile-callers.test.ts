import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import { matchesGlob } from '../../src/endpoint/glob.js';
import { createGateway, type Interceptor, type RuntimeContext } from '../../src/index.js';
import { hold } from '../endpoint/scripted-server.js';
import { setUp } from '../endpoint/setup.js';
import { ScriptedRuntime } from '../support/scripted-runtime.js';

const canary = 'canary-4711';

describe('nothing that a caller sends', () => {
  test('reaches what a server is started with', async () => {
    const runtime = new ScriptedRuntime();
    const started: string[] = [];
    runtime.onopen = async ({ signal, clock, report, ...context }: RuntimeContext) => {
      started.push(JSON.stringify(context));
    };
    await using gateway = createGateway(
      { servers: [{ id: 'a', isolation: 'request', runtime: { type: 'scripted', word: 'plain' } }] } as never,
      { runtimes: [runtime], builtins: false },
    );
    const peer = gateway.connect();
    await peer.start();
    const params = {
      name: `a__${canary}`,
      uri: `x://${canary}`,
      arguments: { command: canary, args: [canary], env: { PATH: canary }, server: canary },
      ref: { type: 'ref/prompt', name: `a__${canary}` },
      argument: { name: 'x', value: canary },
      _meta: { env: { [canary]: canary }, progressToken: canary, caller: { id: canary, principal: canary } },
      protocolVersion: '2025-11-25',
      capabilities: { experimental: { [canary]: {} } },
      clientInfo: { name: canary, version: canary },
    };
    const methods = ['initialize', 'tools/call', 'prompts/get', 'resources/read', 'completion/complete', canary];
    for (const [id, method] of methods.entries()) {
      await peer.send({ jsonrpc: '2.0', id, method, params });
    }
    await expect.poll(() => started.length, { timeout: 60_000 }).toBeGreaterThan(0);
    await peer.close();
    expect(started.join('\n')).not.toContain(canary);
  });

  test('makes it another caller, or lets it hear of another', async () => {
    await using t = setUp(
      {
        a: {
          tools: [{ name: 'x' }],
          on: { 'tools/call': ({ params }) => (params?.arguments === undefined ? hold : { content: [] }) },
        },
      },
      { entry: { isolation: 'shared' } },
    );
    await using victim = await t.caller({}, { caller: { id: 'victim' } });
    await using thief = await t.caller({}, { caller: { id: 'thief' } });
    const open = victim.request('tools/call', { name: 'a__x', _meta: { progressToken: 'p' } }, 'secret-id');
    const { instance, request } = await t.server('a').request('tools/call');
    const before = thief.received.length;
    await thief.send({ method: 'notifications/cancelled', params: { requestId: 'secret-id' } });
    await thief.send({ method: 'notifications/cancelled', params: { requestId: request.id } });
    await thief.send({ id: request.id, result: { stolen: true } });
    expect(await thief.result('tools/call', { name: 'a__x', arguments: {}, _meta: { progressToken: 'p' } })).toEqual({
      content: [],
    });
    instance.notify('notifications/progress', { progressToken: request.params?._meta?.progressToken, progress: 1 });
    instance.answer(request, { content: [], mine: true });
    expect(await open).toMatchObject({ result: { mine: true } });
    expect(instance.notifications('notifications/cancelled')).toEqual([]);
    // Below 0 stands how far the start is.
    const progress = victim.notifications('notifications/progress').filter((params) => Number(params?.progress) > 0);
    expect(progress).toHaveLength(1);
    // Its own answer, and nothing else.
    expect(thief.received.slice(before)).toHaveLength(1);
  });

  test('in _meta is believed: who it is, or that it can do what it has not declared', async () => {
    const prefix = 'io.modelcontextprotocol/';
    const claims = {
      [`${prefix}clientCapabilities`]: { elicitation: {}, sampling: {}, roots: {} },
      [`${prefix}clientInfo`]: { name: 'victim', version: '1' },
      caller: { id: 'victim', principal: 'victim' },
      authInfo: { token: 'stolen' },
    };
    const seen: unknown[] = [];
    const intercept: Interceptor = ({ caller, authInfo, method }, next) => {
      if (method === 'tools/call') seen.push({ caller: caller.id, principal: caller.principal, authInfo });
      return next();
    };
    const discover = () => ({
      resultType: 'complete',
      supportedVersions: ['2026-07-28'],
      capabilities: { tools: {} },
    });
    const stateless = { tools: [{ name: 'x' }], on: { 'server/discover': discover } };
    await using t = setUp({ modern: stateless, legacy: { tools: [{ name: 'x' }] } }, { intercept });
    await using thief = await t.caller({ sampling: {} }, { caller: { id: 'thief' } });
    for (const server of ['modern', 'legacy']) {
      await thief.result('tools/call', { name: `${server}__x`, _meta: claims });
    }
    expect(seen).toEqual(Array(2).fill({ caller: 'thief', principal: undefined, authInfo: undefined }));
    const version = { [`${prefix}protocolVersion`]: '1999-01-01' };
    expect(await thief.error('tools/call', { name: 'modern__x', _meta: version })).toMatchObject({ code: -32022 });
    const { request } = await t.server('modern').request('tools/call');
    expect(request.params?._meta).toMatchObject({
      [`${prefix}protocolVersion`]: '2026-07-28',
      [`${prefix}clientCapabilities`]: { sampling: {} },
      [`${prefix}clientInfo`]: { name: 'test' },
    });
    expect(Object.keys(request.params?._meta?.[`${prefix}clientCapabilities`] as object)).toEqual(['sampling']);
  });

  test('gets past a filter by another method', async () => {
    await using t = setUp(
      { a: { tools: [{ name: 'drop_all' }, { name: 'query' }] } },
      { entry: { tools: { allow: ['query*'] } } },
    );
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__query']);
    for (const name of ['a__drop_all', 'drop_all', 'a__DROP_ALL', 'A__drop_all', 'a__ query']) {
      expect(await caller.request('tools/call', { name })).toHaveProperty('error');
      expect(await caller.request('tools/call', { name, task: {} })).toHaveProperty('error');
      // A method that nobody knows, and that names a tool.
      expect(await caller.request('tools/preview', { name })).toHaveProperty('error');
    }
    const reached = t
      .server('a')
      .instances.flatMap(({ received }) => received.map((message) => JSON.stringify(message)));
    expect(reached.filter((text) => /drop_all/i.test(text))).toEqual([]);
  });

  test.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty', ''])(
    'is special when it is called %j: names, ids, tokens, cursors',
    async (word) => {
      await using t = setUp({ a: { tools: [{ name: 'x' }] } });
      await using caller = await t.caller();
      for (const params of [{ name: word }, { name: `a__${word}` }, { uri: word }, { cursor: word }]) {
        for (const method of ['tools/call', 'tools/list', 'prompts/get', 'resources/read', word]) {
          const answer = await caller.request(method, params);
          expect('result' in answer || 'error' in answer).toBe(true);
        }
      }
      const named = await caller.request('tools/call', { name: 'a__x', _meta: { progressToken: word } }, word);
      expect(named).toMatchObject({ id: word, result: { content: [] } });
      expect(({} as Record<string, unknown>).x).toBeUndefined();
    },
  );
});

test('no pattern of a catalog takes long, whatever it is held against', () => {
  const pattern = `${'*a'.repeat(64)}*b`;
  const text = 'a'.repeat(10_000);
  // A backtracking expression would need more steps than there are atoms. Nothing else runs meanwhile, so that no time limit of
  // the test would ever end it.
  const matches = (glob: string) =>
    runInNewContext('run()', { run: () => matchesGlob(glob, text) }, { timeout: 20_000 });
  expect(matches(pattern)).toBe(false);
  expect(matches(`${pattern.slice(0, -1)}a`)).toBe(true);
});
