import { expect, test } from 'vitest';
import { createGateway, createNodeSessions, createWebSessions, DockerRuntime, watchCatalog } from '../../src/index.js';
import { ScriptedServer } from '../../src/testing/index.js';
import { createLinkedPair } from '../../src/transport/linked-pair.js';

const refusal = (message: string) => expect.objectContaining({ code: 'OPTION_INVALID', message });
const runtimeNeeded = 'runtimes[0] must be a runtime, with type, spec and open(), such as new DockerRuntime()';
const deny = () => {
  throw new Error('denied');
};

test.each<[unknown, string]>([
  [{ interceptor: deny }, 'interceptor is not a known key; did you mean "intercept"?'],
  [{ policy: deny }, expect.stringContaining('policy is not a known key; known are runtimes, builtins, env, ')],
  [{ intercept: [deny] }, 'intercept must be a function'],
  [{ intercept: null }, 'intercept must be a function'],
  [{ authorize: true }, 'authorize must be a function'],
  [{ onEvent: 'log' }, 'onEvent must be a function'],
  [{ names: 'x' }, 'names must be a function'],
  [{ random: 0.5 }, 'random must be a function'],
  [{ builtins: 'no' }, 'builtins must be true or false'],
  [{ runtimes: {} }, 'runtimes must be an array of runtimes'],
  [{ runtimes: [{}] }, runtimeNeeded],
  [{ runtimes: [DockerRuntime] }, runtimeNeeded],
  [{ runtimes: [{ type: 'x', open: deny }] }, runtimeNeeded],
  [{ runtimes: [new DockerRuntime(), new DockerRuntime({})] }, 'runtimes holds two of the type "docker": keep one'],
  [{ env: 'x' }, 'env must be an object such as process.env, or a function'],
  [{ snapshot: '{}' }, 'snapshot must be an object: JSON.parse() the text of one'],
  [{ snapshot: { a: null } }, 'snapshot.a must be an object, not empty'],
  [{ snapshot: { a: { fingerprint: 'x', capabilities: {} } } }, 'snapshot.a.lists is required: add it'],
  [
    { snapshot: { a: { fingerprint: 5, capabilities: [], lists: { tools: {}, prompts: ['x'] } } } },
    'snapshot.a.fingerprint must be a string; snapshot.a.capabilities must be an object; ' +
      'snapshot.a.lists.tools must be an array; snapshot.a.lists.prompts[0] must be an object',
  ],
  [{ limits: 3 }, 'limits must be an object, not a number'],
  [{ limits: { instance: 3 } }, 'limits.instance is not a known key; did you mean "instances"?'],
  [{ clock: 3 }, 'clock must be an object with now(), date(), setTimeout() and clearTimeout()'],
  [null, 'the options must be an object'],
  [
    { interceptor: deny, name: 'x' },
    'interceptor is not a known key; did you mean "intercept"?; name is not a known key; did you mean "names"?',
  ],
])('createGateway(catalog, %o) is refused at once, and says what to mend', (options, message) => {
  const text = typeof message === 'string' ? `createGateway: ${message}` : message;
  expect(() => createGateway({ servers: [] }, options as never)).toThrow(refusal(text));
});

test.each<[unknown[], string]>([
  [[{ server: ['a'] }], 'server is not a known key; did you mean "servers"?'],
  [[{ servers: 'a' }], 'servers must be an array of strings'],
  [[{ tags: [5] }], 'tags[0] must be a string'],
  [[{ caller: 'ada' }], "caller must be an object such as { id: 'ada' }"],
  [[{ era: 'modern' }], 'era is not a known key; known are caller, servers, tags'],
  [[null], 'the options must be an object'],
  [[['a']], 'the options must be an object'],
  [[3], 'the options must be an object'],
  [['a', { servers: ['a'] }], 'servers is not a known key; known are caller, era'],
  [['a', { era: 'moden' }], 'era must be one of "legacy", "modern"; did you mean "modern"?'],
  [['a', { caller: null }], "caller must be an object such as { id: 'ada' }"],
  [['a', 3], 'the options must be an object'],
])('connect(...%j) is refused at once, and says what to mend', async (options, message) => {
  await using gateway = createGateway({ servers: [{ id: 'a', runtime: { type: 'local-process', command: 'a' } }] });
  const connect = gateway.connect as (...options: unknown[]) => unknown;
  expect(() => connect.apply(gateway, options)).toThrow(refusal(`connect: ${message}`));
});

test('serve() and fetch() refuse what is no option of theirs', async () => {
  await using gateway = createGateway({ servers: [] });
  const [transport] = createLinkedPair();
  await expect(gateway.serve(transport, { tag: ['db'] } as never)).rejects.toEqual(
    refusal('serve: tag is not a known key; did you mean "tags"?'),
  );
  const request = () => new Request('http://localhost/mcp', { method: 'POST' });
  await expect(gateway.fetch(request(), undefined as never)).rejects.toEqual(
    refusal('fetch: the options must be an object'),
  );
  await expect(gateway.fetch(request(), { caller: { id: 'ada' }, host: ['x'] } as never)).rejects.toEqual(
    refusal('fetch: host is not a known key; did you mean "hosts"?'),
  );
});

test('sessions refuse what is no option of theirs', () => {
  const serve = async () => {};
  expect(() => createNodeSessions(serve, { authenticated: deny } as never)).toThrow(
    refusal('createNodeSessions: authenticated is not a known key; did you mean "authenticate"?'),
  );
  expect(() => createWebSessions(() => ({}) as never, serve, { origins: '*' } as never)).toThrow(
    refusal('createWebSessions: origins must be an array of strings'),
  );
  expect(() => createNodeSessions(serve, { authenticate: true } as never)).toThrow(
    refusal('createNodeSessions: authenticate must be a function'),
  );
});

test('stop(), restart() and reload() refuse what is no option of theirs', async () => {
  await using gateway = createGateway({ servers: [{ id: 'a', runtime: { type: 'local-process', command: 'a' } }] });
  for (const graceMs of [Number.NaN, -1, '5s', null]) {
    const text = `graceMs must be a number of milliseconds from 0, not ${graceMs}`;
    const options = { graceMs } as never;
    await expect(gateway.stop('a', options)).rejects.toEqual(refusal(`stop: ${text}`));
    await expect(gateway.restart('a', options)).rejects.toEqual(refusal(`restart: ${text}`));
    await expect(gateway.reload({ servers: [] }, options)).rejects.toEqual(refusal(`reload: ${text}`));
  }
  await expect(gateway.stop('a', { grace: 5 } as never)).rejects.toEqual(
    refusal('stop: grace is not a known key; did you mean "graceMs"?'),
  );
  // Refused is the whole call.
  expect(gateway.status().map(({ id }) => id)).toEqual(['a']);
});

test('close() refuses what is no option of its, and ends everything all the same', async () => {
  const server = new ScriptedServer({ tools: [{ name: 'tool' }] });
  const gateway = createGateway({ servers: [{ id: 'a', runtime: server.runtime }] });
  await gateway.start('a');
  await expect(gateway.close({ graceMs: Number.NaN })).rejects.toEqual(
    refusal('close: graceMs must be a number of milliseconds from 0, not NaN'),
  );
  expect(server.instances.every(({ closed }) => closed)).toBe(true);
  await expect(gateway.start('a')).rejects.toMatchObject({ code: 'GATEWAY_CLOSED' });
});

test('watchCatalog() refuses what is no option of its', async () => {
  await using gateway = createGateway({ servers: [] });
  expect(() => watchCatalog('catalog.yaml', gateway, { debounce: 5 } as never)).toThrow(
    refusal('watchCatalog: debounce is not a known key; did you mean "debounceMs"?'),
  );
  expect(() => watchCatalog('catalog.yaml', gateway, { intervalMs: 0, onEvent: 'log' } as never)).toThrow(
    refusal('watchCatalog: onEvent must be a function; intervalMs must be a number of milliseconds from 1, not 0'),
  );
});

test('what is undefined is not given', async () => {
  const options = { intercept: undefined, limits: undefined, runtimes: undefined, env: undefined, mine: undefined };
  await using gateway = createGateway({ servers: [] }, options);
  expect(() => gateway.connect(undefined)).not.toThrow();
  expect(() => gateway.connect({ servers: undefined, caller: undefined })).not.toThrow();
  expect(() => createGateway({ servers: [] }, { env: process.env })).not.toThrow();
});
