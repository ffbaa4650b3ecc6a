import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createNames, type NamingFunction, qualifiedName } from '../../src/endpoint/names.js';
import { type Handler, hold, ScriptedServer } from './scripted-server.js';
import { setUp } from './setup.js';

const tools = (...names: string[]) => ({ tools: names.map((name) => ({ name })) });
const fits = /^[a-zA-Z0-9_-]{1,64}$/;
const long = 'n'.repeat(100);

describe('names', () => {
  test('are short and plain, whatever the server calls its tools, and no two are equal', () => {
    const serverId = fc
      .stringMatching(/^[a-zA-Z0-9]([a-zA-Z0-9_-]{0,46}[a-zA-Z0-9-])?$/)
      .filter((id) => !id.includes('__'));
    const origin = fc.record({ server: serverId, name: fc.string({ unit: 'grapheme', maxLength: 120 }) });
    fc.assert(
      fc.property(
        fc.uniqueArray(origin, { maxLength: 20, selector: ({ server, name }) => `${server}\0${name}` }),
        (all) => {
          const names = all.map(({ server, name }) => qualifiedName(server, name));
          for (const name of names) {
            expect(name).toMatch(fits);
          }
          expect(new Set(names).size).toBe(names.length);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('stay plain up to 64 characters', () => {
    expect(qualifiedName('a', 'x'.repeat(61))).toBe(`a__${'x'.repeat(61)}`);
    expect(qualifiedName('a', 'x'.repeat(62))).toMatch(/^a__x{50}_[0-9a-f]{10}$/);
  });

  test('that only look as if they held a hash lead to their server', () => {
    const names = createNames((id) => id === 'a');
    expect(names.resolve('tool', 'a__x_nothexhere')).toEqual({ server: 'a', name: 'x_nothexhere' });
    expect(names.resolve('tool', 'a__x_0123456789')).toBeUndefined();
  });

  test('of the host that are taken already give way to the default, also within one server', () => {
    const names = createNames(
      () => true,
      () => 'same',
    );
    expect(names.qualify('tool', 'a', 'x')).toBe('same');
    expect(names.qualify('tool', 'a', 'x')).toBe('same');
    expect(names.qualify('tool', 'a', 'y')).toBe('a__y');
    expect(names.qualify('tool', 'b', 'x')).toBe('b__x');
    expect(names.resolve('tool', 'same')).toEqual({ server: 'a', name: 'x' });
  });

  test('of a server that is gone are forgotten, and those of others are not', () => {
    const names = createNames((id) => id === 'a' || id === 'b');
    const [ofA, ofB] = [names.qualify('tool', 'a', long), names.qualify('tool', 'b', long)];
    names.forget(new Set(['a']));
    expect(names.resolve('tool', ofA)).toBeUndefined();
    expect(names.resolve('tool', ofB)).toEqual({ server: 'b', name: long });
  });

  test('are forgotten from the oldest on when there are more than anybody can hold in mind', () => {
    const names = createNames(
      () => true,
      ({ name }) => name,
    );
    for (let count = 0; count < 200_000; count += 1) {
      names.qualify('tool', 'a', `n${count}`);
    }
    expect(names.resolve('tool', 'n0')).toEqual({ server: 'a', name: 'n0' });
    names.qualify('tool', 'a', 'one more');
    expect(names.resolve('tool', 'n0')).toBeUndefined();
    expect(names.resolve('tool', 'n1')).toEqual({ server: 'a', name: 'n1' });
    const before = process.cpuUsage().user;
    for (let count = 0; count < 400_000; count += 1) {
      names.qualify('tool', 'a', `m${count}`);
    }
    expect(names.resolve('tool', 'm199999')).toBeUndefined();
    expect(names.resolve('tool', 'm200000')).toEqual({ server: 'a', name: 'm200000' });
    // Minutes where the oldest is looked for anew each time.
    expect(process.cpuUsage().user - before).toBeLessThan(3_000_000);
  });

  test('may be of a server that the catalog has, or of anybody when the host names them', () => {
    const names = createNames((id) => id === 'a');
    expect(names.candidate('a__x')).toEqual({ server: 'a' });
    expect(names.candidate('c__x')).toBeUndefined();
    expect(
      createNames(
        () => true,
        () => 'x',
      ).candidate('c__x'),
    ).toBe('anybody');
  });

  test('lead back to where they come from', () => {
    const names = createNames((id) => id === 'a' || id === 'a-b');
    for (const name of ['x', 'x__y', '__', '_', 'ü', '', long, `${'x'.repeat(50)}_0123456789`, 'x_0123456789']) {
      for (const server of ['a', 'a-b']) {
        expect(names.resolve('tool', names.qualify('tool', server, name))).toEqual({ server, name });
      }
    }
    expect(names.resolve('prompt', 'c__x')).toBeUndefined();
  });

  test('are the same in every process', () => {
    expect(qualifiedName('files', 'read')).toBe('files__read');
    expect(qualifiedName('files', 'read it')).toBe('files__read_it_378669d6d2');
    expect(qualifiedName('a', long)).toBe(qualifiedName('a', long));
    expect(qualifiedName('a', long)).toHaveLength(64);
    expect(qualifiedName('a', `${long}1`)).not.toBe(qualifiedName('a', `${long}2`));
  });

  test('cannot be made to look like those of another server', async () => {
    await using t = setUp({ a: tools('b__x', '_b__x', 'x'), b: tools('x') });
    await using caller = await t.caller();
    const all = await caller.toolNames();
    expect(new Set(all).size).toBe(4);
    for (const name of all) {
      const origin = t.gateway.names.toolOrigin(name);
      expect(await caller.result('tools/call', { name })).toMatchObject({
        structuredContent: { server: origin?.server, params: { name: origin?.name } },
      });
    }
  });

  test('the table is the gateway’s, for tools and prompts', async () => {
    await using t = setUp({ a: tools('x') });
    expect(t.gateway.names.tool('a', 'x')).toBe('a__x');
    expect(t.gateway.names.prompt('a', 'p q')).toMatch(/^a__p_q_[0-9a-f]{10}$/);
    expect(t.gateway.names.promptOrigin(t.gateway.names.prompt('a', 'p q'))).toEqual({ server: 'a', name: 'p q' });
    expect(t.gateway.names.toolOrigin('a__x')).toEqual({ server: 'a', name: 'x' });
    expect(t.gateway.names.toolOrigin('nobody__x')).toBeUndefined();
    expect(t.gateway.names.promptOrigin('')).toBeUndefined();
  });
});

describe('a shortened name that was never listed here', () => {
  test('is found by asking its server, and no other', async () => {
    await using t = setUp({ a: tools(long, 'odd name'), b: tools(long) });
    await using caller = await t.caller();
    for (const name of [long, 'odd name']) {
      expect(await caller.result('tools/call', { name: qualifiedName('a', name) })).toMatchObject({
        structuredContent: { server: 'a', params: { name } },
      });
    }
    expect(t.server('b').opens).toBe(0);
  });

  test('is refused when its server has none such', async () => {
    await using t = setUp({ a: tools('x'), b: tools(long) });
    await using caller = await t.caller();
    expect(await caller.error('tools/call', { name: qualifiedName('a', long) })).toMatchObject({ code: -32602 });
    expect(await caller.error('prompts/get', { name: qualifiedName('a', long) })).toMatchObject({ code: -32602 });
  });

  test('is answered with the failure of its server when that cannot be asked', async () => {
    await using t = setUp({ a: { ...tools(long), open: () => Promise.reject(new Error('broken')) } });
    await using caller = await t.caller();
    expect(await caller.error('tools/call', { name: qualifiedName('a', long) })).toMatchObject({
      data: { code: 'START_FAILED', server: 'a', delivered: false },
    });
  });

  test('is answered with what says that nobody got the call, though its server ended over the list', async () => {
    const server = new ScriptedServer({ ...tools(long), on: { 'tools/list': () => hold } });
    await using t = setUp({ a: server });
    await using caller = await t.caller();
    const failing = caller.error('tools/call', { name: qualifiedName('a', long) });
    (await server.request('tools/list')).instance.die();
    const { message, data } = await failing;
    expect(data).toMatchObject({ code: 'SERVER_EXITED', server: 'a', delivered: false, exit: { code: 1 } });
    expect(message).not.toContain('unknown');
  });

  test('is answered with all that is known of a start that has failed, as a call of any other name', async () => {
    const initialize: Handler = (_, instance) => {
      instance.die(7);
      return hold;
    };
    const dataOf = async (name: string) => {
      await using t = setUp({ a: { ...tools(long), on: { initialize } } });
      await using caller = await t.caller();
      return (await caller.error('tools/call', { name: qualifiedName('a', name) })).data;
    };
    const data = await dataOf(long);
    expect(data).toMatchObject({ code: 'SERVER_EXITED', delivered: false, exit: { code: 7 } });
    expect(data).toEqual(await dataOf('plain'));
  });

  test('a tool that is denied is not found either', async () => {
    await using t = setUp({ a: tools(long) }, { entry: { tools: { deny: ['n*'] } } });
    await using caller = await t.caller();
    expect(await caller.error('tools/call', { name: qualifiedName('a', long) })).toMatchObject({ code: -32602 });
    expect(t.server('a').only.requests('tools/call')).toEqual([]);
  });
});

describe('a host’s own naming', () => {
  const naming = ({ name }: { readonly name: string }) => name;

  test('shows and calls by its names; where two collide, the later shows under the default', async () => {
    const scripts = { a: tools('x', 'only'), b: tools('x', 'other') };
    for (let run = 0; run < 2; run += 1) {
      await using t = setUp(scripts, { names: naming });
      await using caller = await t.caller();
      expect(await caller.toolNames()).toEqual(['x', 'only', 'b__x', 'other']);
      for (const [name, server] of [
        ['x', 'a'],
        ['b__x', 'b'],
        ['other', 'b'],
      ] as const) {
        expect(await caller.result('tools/call', { name })).toMatchObject({ structuredContent: { server } });
      }
    }
  });

  test('a name that a caller was shown leads to no other server before the caller asks for a list again', async () => {
    await using t = setUp({ a: tools('x'), b: tools('x') }, { names: naming });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['x', 'b__x']);
    await t.gateway.reload({ servers: [{ id: 'b', runtime: { type: 'scripted', script: 'b' } }] });
    await using other = await t.caller();
    expect(await other.toolNames()).toEqual(['x']);
    expect(await caller.error('tools/call', { name: 'x' })).toMatchObject({ code: -32602 });
    expect(t.server('b').instances.flatMap((instance) => instance.requests('tools/call'))).toEqual([]);
    expect(await caller.toolNames()).toEqual(['x']);
    expect(await caller.result('tools/call', { name: 'x' })).toMatchObject({ structuredContent: { server: 'b' } });
  });

  test('a name that was never listed is found by asking', async () => {
    await using t = setUp({ a: tools('x'), b: tools('y') }, { names: naming });
    await using caller = await t.caller();
    expect(await caller.result('tools/call', { name: 'y' })).toMatchObject({ structuredContent: { server: 'b' } });
    expect(await caller.error('tools/call', { name: 'z' })).toMatchObject({ code: -32602 });
  });

  test('a name with two underscores may come from any server', async () => {
    await using t = setUp(
      { a: tools('x'), b: tools('y') },
      { names: ({ server, name }) => (server === 'b' ? `a__${name}` : name) },
    );
    await using caller = await t.caller();
    expect(await caller.result('tools/call', { name: 'a__y' })).toMatchObject({ structuredContent: { server: 'b' } });
  });

  test('cannot lead a default name to another server', async () => {
    // The one takes the default name of the other, whose own is refused.
    await using t = setUp({ a: tools('x'), b: tools('x') }, { names: ({ server }) => (server === 'a' ? 'b__x' : '') });
    await using caller = await t.caller();
    const all = await caller.toolNames();
    expect(new Set(all).size).toBe(2);
    const servers = [];
    for (const name of all) {
      const { structuredContent } = await caller.result('tools/call', { name });
      servers.push((structuredContent as { server: string }).server);
    }
    expect(servers).toEqual(['a', 'b']);
  });
});

test('a naming of the host that throws fails what needs it, and says so', async () => {
  const naming: NamingFunction = ({ name }) => {
    if (name === 'bad') throw new Error('no name for it');
    return name;
  };
  await using t = setUp({ a: tools('good', 'bad') }, { names: naming });
  await using caller = await t.caller();
  for (const [method, params] of [
    ['tools/list', {}],
    ['tools/call', { name: 'other' }],
  ] as const) {
    expect((await caller.error(method, params)).message).toContain('no name for it');
  }
});

test('a shortened name is looked for among names alone', async () => {
  const name = 'x_0123456789'; // like a shortened one
  const listed = [{ name: 7 }, {}, { name }] as unknown as { name: string }[];
  await using t = setUp({ a: { tools: listed } });
  await using caller = await t.caller();
  const { structuredContent } = await caller.result('tools/call', { name: `a__${name}` });
  expect(structuredContent).toMatchObject({ params: { name } });
  expect(await caller.error('tools/call', { name: 'a__7_0123456789' })).toMatchObject({ code: -32602 });
  // What is no name has made nothing known.
  const plain = await caller.result('tools/call', { name: 'a__7' });
  expect(plain.structuredContent).toMatchObject({ params: { name: '7' } });
});

test('a shortened name of a prompt is looked for among prompts', async () => {
  const on = { 'prompts/get': ({ params }: { params?: object | undefined }) => ({ messages: [], got: params }) };
  await using t = setUp({ a: { ...tools(long), prompts: [{ name: `${long}p` }], on } });
  await using caller = await t.caller();
  const name = qualifiedName('a', `${long}p`);
  expect(await caller.result('prompts/get', { name })).toMatchObject({ got: { name: `${long}p` } });
  expect(t.server('a').only.requests('tools/list')).toEqual([]);
  expect(await caller.error('prompts/get', { name: qualifiedName('a', long) })).toMatchObject({ code: -32602 });
});

test('a naming function that throws is named as what has failed', async () => {
  const failure = new Error('boom');
  const names = () => {
    throw failure;
  };
  await using t = setUp({ a: tools('x') }, { names });
  await using caller = await t.caller();
  const message = '"a": the option names failed for the tool "x": boom';
  expect(await caller.request('tools/list')).toMatchObject({
    error: { code: 1006, message, data: { code: 'OPTION_INVALID', server: 'a' } },
  });
  expect(() => t.gateway.names.tool('a', 'x')).toThrow(expect.objectContaining({ message, cause: failure }));
});
