import { expect, test } from 'vitest';
import {
  createGateway,
  createNodeSessions,
  createWebSessions,
  DockerRuntime,
  K8sJobRuntime,
  K8sServiceRuntime,
  LocalProcessRuntime,
  loadCatalog,
  parseCatalog,
  RemoteSseRuntime,
  toCatalog,
  watchCatalog,
} from '../../src/index.js';
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
  // All who have none would be one caller.
  [[{ caller: { id: null, principal: null } }], 'caller.id must be a string; caller.principal must be a string'],
  [
    [{ caller: { id: '', principal: '' } }],
    'caller.id is empty: leave it out for who has none; caller.principal is empty: leave it out for who has none',
  ],
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

test('createGateway() refuses a Node that is too old, on which requests would get no answer', () => {
  const { withResolvers } = Promise;
  Object.assign(Promise, { withResolvers: undefined });
  try {
    const text = `createGateway: needs Node 22.19 or newer; this is ${process.version}`;
    expect(() => createGateway({ servers: [] })).toThrow(refusal(text));
  } finally {
    Promise.withResolvers = withResolvers;
  }
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
  await expect(gateway.fetch(request(), { caller: { id: null } as never })).rejects.toEqual(
    refusal('fetch: caller.id must be a string'),
  );
  await expect(gateway.fetch(request(), { caller: { id: '' } })).rejects.toEqual(
    refusal('fetch: caller.id is empty: leave it out for who has none'),
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
  // Each 401 would fail with it, and leave its client waiting.
  expect(() => createNodeSessions(serve, { challenge: 'Bearer realm="of a file"\n' })).toThrow(
    refusal('createNodeSessions: challenge holds a character that no HTTP header can have, such as a line break'),
  );
});

const noHost = 'is no host: write its name, or that and its port, such as "mcp.example.com:3000"';
const noOrigin = 'is no origin: write it without a path, such as "https://app.example.com"';

test.each<[object, string]>([
  [{ hosts: ['http://localhost:3000'] }, `hosts[0] ${noHost}`],
  [{ hosts: ['localhost', 'localhost/mcp'] }, `hosts[1] ${noHost}`],
  [{ hosts: ['*'] }, `hosts[0] ${noHost}`],
  [{ hosts: ['*.example.com'] }, `hosts[0] ${noHost}`],
  [{ origins: ['https://app.example.com/'] }, `origins[0] ${noOrigin}`],
  [{ origins: ['app.example.com'] }, `origins[0] ${noOrigin}`],
  [{ origins: ['*'] }, `origins[0] ${noOrigin}`],
  [{ origins: ['https://*.example.com'] }, `origins[0] ${noOrigin}`],
])('%j would refuse everybody, and is refused at once', async (options, message) => {
  const authenticate = () => ({});
  const serve = async () => {};
  expect(() => createNodeSessions(serve, { authenticate, ...options })).toThrow(
    refusal(`createNodeSessions: ${message}`),
  );
  expect(() => createWebSessions(() => ({}) as never, serve, { authenticate, ...options })).toThrow(
    refusal(`createWebSessions: ${message}`),
  );
  await using gateway = createGateway({ servers: [] });
  const request = new Request('http://localhost/mcp', { method: 'POST' });
  await expect(gateway.fetch(request, { caller: { id: 'ada' }, ...options })).rejects.toEqual(
    refusal(`fetch: ${message}`),
  );
});

test('sessions take every host and origin that a header may name', () => {
  const hosts = ['localhost', 'localhost:3000', '[::1]', '[::1]:3000', 'MCP.example.com', 'xn--bcher-kva.example'];
  // Of a page, of none of its own, of a file in a web view, of an extension.
  const origins = ['https://app.example.com:8443', 'null', 'file://', 'chrome-extension://abc', 'http://[::1]:5173'];
  expect(() => createNodeSessions(async () => {}, { authenticate: () => ({}), hosts, origins })).not.toThrow();
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

test('check() refuses what is no option of its, such as a signal that would never end it', async () => {
  await using gateway = createGateway({ servers: [] });
  await expect(gateway.check(undefined, { sginal: AbortSignal.abort() } as never)).rejects.toEqual(
    refusal('check: sginal is not a known key; did you mean "signal"?'),
  );
  await expect(gateway.check(undefined, { signal: {} } as never)).rejects.toEqual(
    refusal('check: signal must be an AbortSignal'),
  );
  await expect(gateway.check(undefined, null as never)).rejects.toEqual(
    refusal('check: the options must be an object'),
  );
});

test.each<[unknown, string]>([
  [undefined, 'undefined'],
  [null, 'null'],
  [{}, 'an object'],
  [{ start() {} }, 'an object'],
  [Promise.resolve(), 'a promise: await it'],
])('serve(%o) is refused, and leaves nothing behind', async (transport, kind) => {
  const gateway = createGateway({ servers: [] });
  await expect(gateway.serve(transport as never)).rejects.toEqual(
    refusal(`serve: the transport must have start(), send() and close(), not ${kind}`),
  );
  await gateway.close();
});

test('what takes a Request or what node:http has refuses the other, and says where that belongs', async () => {
  await using gateway = createGateway({ servers: [] });
  const ofNode = { method: 'POST', url: '/mcp', headers: { host: 'localhost' } } as never;
  const request = new Request('http://localhost/mcp', { method: 'POST' });
  const web = createWebSessions(
    () => ({}) as never,
    async () => {},
  );
  const wanted = 'the request must be a Request; createNodeSessions takes those of node:http, not an object';
  await expect(gateway.fetch(ofNode, { caller: { id: 'ada' } })).rejects.toEqual(refusal(`fetch: ${wanted}`));
  await expect(web.handle(ofNode)).rejects.toEqual(refusal(`handle: ${wanted}`));
  const node = createNodeSessions(async () => {});
  await expect(node.handle(request as never, undefined as never)).rejects.toEqual(
    refusal('handle: the response must be one of node:http; createWebSessions takes a Request, not undefined'),
  );
});

test.each<[new (options?: never) => unknown, unknown, string]>([
  [DockerRuntime, { hosts: 'unix:///x' }, 'DockerRuntime: hosts is not a known key; did you mean "host"?'],
  [DockerRuntime, { socket: '/x' }, 'DockerRuntime: socket is not a known key; known are host, env'],
  [DockerRuntime, { host: null, env: [] }, 'DockerRuntime: host must be a string; env must be an object'],
  [K8sJobRuntime, { kubeConfig: 'x' }, 'K8sJobRuntime: kubeConfig is not a known key; did you mean "kubeconfig"?'],
  [K8sJobRuntime, { kubeconfig: {} }, 'K8sJobRuntime: kubeconfig must be a string or a function'],
  [K8sServiceRuntime, { header: {} }, 'K8sServiceRuntime: header is not a known key; did you mean "headers"?'],
  [
    LocalProcessRuntime,
    { guardians: false },
    'LocalProcessRuntime: guardians is not a known key; did you mean "guardian"?',
  ],
  [LocalProcessRuntime, null, 'LocalProcessRuntime: the options must be an object'],
  [
    RemoteSseRuntime,
    { headers: { a: 'b' }, auth: () => {}, connectTimeoutMs: Number.NaN, proxy: undefined },
    'RemoteSseRuntime: auth is not a known key; known are headers, tls, connectTimeoutMs, headersTimeoutMs, ' +
      'authProvider, proxy, maxConnections; headers must be a function; connectTimeoutMs must be a number from 0',
  ],
  [
    RemoteSseRuntime,
    { headersTimeoutMs: -1, maxConnections: -1, proxy: true },
    'RemoteSseRuntime: headersTimeoutMs must be a number from 0; proxy must be a string or false; ' +
      'maxConnections must be a number from 0',
  ],
  [
    RemoteSseRuntime,
    { tls: { CA: 'x', rejectUnauthorized: false } },
    'RemoteSseRuntime: tls.CA is not a known key; did you mean "ca"?; ' +
      'tls.rejectUnauthorized is not a known key; known are ca, cert, key, passphrase',
  ],
  [
    K8sServiceRuntime,
    { tls: { pass: 'x' } },
    'K8sServiceRuntime: tls.pass is not a known key; known are ca, cert, key, passphrase',
  ],
  [K8sServiceRuntime, { readyTimeoutMs: -1 }, 'K8sServiceRuntime: readyTimeoutMs must be a number from 0'],
])('new %o(%o) is refused at once, and says what to mend', (Runtime, options, message) => {
  expect(() => new Runtime(options as never)).toThrow(refusal(message));
});

test('a runtime takes every value that its options may have', () => {
  const times = { connectTimeoutMs: 0, headersTimeoutMs: Number.POSITIVE_INFINITY, maxConnections: 1 };
  expect(() => new RemoteSseRuntime({ proxy: false, tls: () => undefined, ...times })).not.toThrow();
  const tls = { ca: ['x'], cert: 'x', key: 'x', passphrase: 'x' };
  expect(() => new RemoteSseRuntime({ tls })).not.toThrow();
});

test('sessions refuse to begin without the functions that they need', () => {
  const of = (create: (...given: never[]) => unknown) => create as (...given: unknown[]) => unknown;
  const serve = async () => {};
  expect(() => of(createNodeSessions)()).toThrow(
    refusal('createNodeSessions: serve must be a function, not undefined'),
  );
  expect(() => of(createNodeSessions)({}, serve)).toThrow(
    refusal('createNodeSessions: create must be a function, not an object'),
  );
  expect(() => of(createWebSessions)(serve)).toThrow(
    refusal('createWebSessions: serve, the second argument, must be a function, not undefined'),
  );
  expect(() => of(createWebSessions)({}, serve)).toThrow(
    refusal('createWebSessions: create must be a function, not an object'),
  );
});

test('the close of sessions refuses what is no option of its, and closes them all the same', async () => {
  const ofNode = createNodeSessions(async () => {});
  const ofWeb = createWebSessions(
    () => ({}) as never,
    async () => {},
  );
  for (const sessions of [ofNode, ofWeb]) {
    await expect(sessions.close({ graceMs: '5s' } as never)).rejects.toEqual(
      refusal('close: graceMs must be a number of milliseconds from 0, not 5s'),
    );
    await expect(sessions.close({ grace: 5 } as never)).rejects.toEqual(
      refusal('close: grace is not a known key; did you mean "graceMs"?'),
    );
  }
  const request = new Request('http://localhost/mcp', { method: 'POST' });
  expect((await ofWeb.handle(request)).status).toBe(503);
});

test('loadCatalog(), parseCatalog() and toCatalog() refuse what is no option of theirs', async () => {
  await expect(loadCatalog('catalog.yaml', { header: {} } as never)).rejects.toEqual(
    refusal('loadCatalog: header is not a known key; did you mean "headers"?'),
  );
  await expect(loadCatalog('catalog.yaml', { headers: { a: 5 }, signal: 5 } as never)).rejects.toEqual(
    refusal('loadCatalog: headers.a must be a string; signal must be an AbortSignal'),
  );
  await expect(parseCatalog('servers: []', { format: 'yml' } as never)).rejects.toEqual(
    refusal('parseCatalog: format must be one of "yaml", "json"; did you mean "yaml"?'),
  );
  await expect(parseCatalog('servers: []', null as never)).rejects.toEqual(
    refusal('parseCatalog: the options must be an object'),
  );
  expect(() => toCatalog({ mcpServers: {} }, { variable: {} } as never)).toThrow(
    refusal('toCatalog: variable is not a known key; did you mean "variables"?'),
  );
});

test('watchCatalog() wants a gateway', () => {
  expect(() => watchCatalog('catalog.yaml', { onEvent: () => {} } as never)).toThrow(
    refusal('watchCatalog: the second argument must be a gateway, not an object'),
  );
});

test('a name that is none comes from nowhere', async () => {
  await using gateway = createGateway({ servers: [] });
  expect(gateway.names.toolOrigin(undefined as never)).toBe(undefined);
  expect(gateway.names.promptOrigin(5 as never)).toBe(undefined);
});

test('what is undefined is not given', async () => {
  const options = { intercept: undefined, limits: undefined, runtimes: undefined, env: undefined, mine: undefined };
  await using gateway = createGateway({ servers: [] }, options);
  expect(() => gateway.connect(undefined)).not.toThrow();
  expect(() => gateway.connect({ servers: undefined, caller: undefined })).not.toThrow();
  expect(() => createGateway({ servers: [] }, { env: process.env })).not.toThrow();
});
