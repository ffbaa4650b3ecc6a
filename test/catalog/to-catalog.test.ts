import { describe, expect, test, vi } from 'vitest';
import { interpolate } from '../../src/catalog/interpolate.js';
import { createGateway, GatewayError, parseCatalog, toCatalog } from '../../src/index.js';
import { serverPath } from '../support/trees.js';

const one = (server: unknown, options = {}) => toCatalog({ mcpServers: { it: server } }, options).servers[0];

/** The problems of a configuration, as path and message. */
function problemsOf(config: unknown): string[] {
  try {
    toCatalog(config);
  } catch (error) {
    expect(GatewayError.is(error) && error.code).toBe('CATALOG_INVALID');
    return (error as GatewayError).issues?.map(({ path, message }) => `${path}: ${message}`) ?? [];
  }
  return [];
}

test('what was converted can be written to a file and read again', async () => {
  const catalog = toCatalog({
    mcpServers: {
      'My Tools': { command: 'npx', args: ['-y', 'tools'], env: { TOKEN: '${TOKEN}' } },
      vendor: { url: 'https://mcp.vendor.com', headers: { Authorization: 'Bearer ${TOKEN:-none}' }, disabled: true },
    },
  });
  expect(await parseCatalog(JSON.stringify(catalog), { format: 'json' })).toEqual(catalog);
});

test('"${" without end is looked at in no time', () => {
  const before = process.cpuUsage().user;
  const open = '${'.repeat(100_000);
  expect(problemsOf({ mcpServers: { it: { command: open, args: [`${open}}`] } } })).toHaveLength(1);
  // Half a minute where each of them is a new start.
  expect(process.cpuUsage().user - before).toBeLessThan(3_000_000);
});

describe('what programs write', () => {
  test('Claude Desktop', () => {
    const config = {
      globalShortcut: 'Ctrl+Space',
      mcpServers: {
        filesystem: { command: 'npx', args: ['-y', '@modelcontextprotocol/server-filesystem', '/home/ada'] },
        github: { command: 'npx', args: ['-y', 'github-mcp'], env: { TOKEN: '${GITHUB_TOKEN}' } },
      },
    };
    expect(toCatalog(config)).toEqual({
      servers: [
        {
          id: 'filesystem',
          runtime: {
            type: 'local-process',
            command: 'npx',
            args: ['-y', '@modelcontextprotocol/server-filesystem', '/home/ada'],
          },
        },
        {
          id: 'github',
          env: { TOKEN: '${GITHUB_TOKEN}' },
          runtime: { type: 'local-process', command: 'npx', args: ['-y', 'github-mcp'] },
        },
      ],
    });
  });

  test.each([
    [
      'Claude Code',
      { type: 'http', url: '${BASE:-https://example.com}/mcp', headers: { Authorization: 'Bearer ${KEY}' } },
      { type: 'remote-sse', url: '${BASE:-https://example.com}/mcp', headers: { Authorization: 'Bearer ${KEY}' } },
    ],
    [
      'the older HTTP+SSE',
      { type: 'sse', url: 'https://example.com/sse' },
      { type: 'remote-sse', url: 'https://example.com/sse', transport: 'sse' },
    ],
    [
      'Cursor',
      { url: 'https://example.com/mcp', headers: { 'X-Key': '${env:KEY}' } },
      { type: 'remote-sse', url: 'https://example.com/mcp', headers: { 'X-Key': '${KEY}' } },
    ],
    ['Windsurf', { serverUrl: 'https://example.com/mcp' }, { type: 'remote-sse', url: 'https://example.com/mcp' }],
    ['Gemini CLI', { httpUrl: 'https://example.com/mcp' }, { type: 'remote-sse', url: 'https://example.com/mcp' }],
    [
      'a folder',
      { type: 'stdio', command: './serve', cwd: 'tools' },
      { type: 'local-process', command: './serve', working_dir: 'tools' },
    ],
  ])('%s', (_, server, runtime) => {
    expect(one(server)).toEqual({ id: 'it', runtime });
  });

  test('VS Code, whose variables have no value without somebody who asks', () => {
    const config = {
      inputs: [{ type: 'promptString', id: 'key', password: true }],
      servers: { it: { command: 'serve', args: ['--root=${workspaceFolder}'], env: { KEY: '${input:key}' } } },
    };
    expect(problemsOf(config)).toEqual([
      'servers.it.args[0]: needs a value for "workspaceFolder": give it in the option "variables"',
      'servers.it.env.KEY: needs a value for "input:key": give it in the option "variables"',
    ]);
    expect(toCatalog(config, { variables: { workspaceFolder: '/w', 'input:key': 'a${b}c' } }).servers).toEqual([
      { id: 'it', env: { KEY: 'a$${b}c' }, runtime: { type: 'local-process', command: 'serve', args: ['--root=/w'] } },
    ]);
  });

  test.each([
    ['${input:p}${input:q}', 'pa$', '{HOME}'],
    ['${input:p}{HOME}', 'pa$', ''],
    ['a${input:p}$', '$${HOME', ''],
  ])('%s, whose values %j and %j arrive as they are', async (text, p, q) => {
    const made = one({ command: 'serve', env: { KEY: text } }, { variables: { 'input:p': p, 'input:q': q } });
    expect(interpolate(made?.env?.KEY ?? '', {})).toMatchObject({
      value: text.replace('${input:p}', () => p).replace('${input:q}', () => q),
      problems: [],
    });
  });

  test('a variable behind a value that ends with "$", for which a catalog has no words', () => {
    const config = { mcpServers: { it: { command: 'serve', args: ['${input:p}${env:HOME}'] } } };
    const problem = 'needs a value for "env:HOME", as a "$" stands before it: give it in the option "variables"';
    const variables = { 'input:p': 'pa$' };
    expect(() => toCatalog(config, { variables })).toThrow(`mcpServers.it.args[0]: ${problem}`);
    expect(toCatalog(config, { variables: { ...variables, 'env:HOME': '/h' } }).servers).toMatchObject([
      { runtime: { args: ['pa$/h'] } },
    ]);
  });

  test('servers and tools that are switched off', () => {
    expect(one({ command: 'serve', disabled: true, disabledTools: ['drop'] })).toMatchObject({
      enabled: false,
      tools: { deny: ['drop'] },
    });
    expect(one({ command: 'serve', includeTools: ['query'], excludeTools: ['drop'] })).toMatchObject({
      tools: { allow: ['query'], deny: ['drop'] },
    });
    expect(one({ command: 'serve', disabled: false, args: [] })).toEqual({
      id: 'it',
      runtime: { type: 'local-process', command: 'serve', args: [] },
    });
  });
});

test('names become ids, each its own', () => {
  const names = [
    'good-id',
    'My Server',
    'my server',
    'my-server',
    '@scope/it',
    'a__b_',
    '数据',
    '',
    `${'x'.repeat(60)}`,
  ];
  const config = { mcpServers: Object.fromEntries(names.map((name) => [name, { command: 'serve' }])) };
  const { servers } = toCatalog(config);
  expect(servers.map(({ id, display_name: name = id }) => [name, id])).toEqual([
    ['good-id', 'good-id'],
    ['My Server', 'My-Server-2'],
    ['my server', 'my-server-3'],
    ['my-server', 'my-server'],
    ['@scope/it', 'scope-it'],
    ['a__b_', 'a_b'],
    ['数据', 'server'],
    ['server-2', 'server-2'],
    ['x'.repeat(60), 'x'.repeat(48)],
  ]);
  // The gateway takes them all.
  expect(() => createGateway({ servers })).not.toThrow();
});

test('both lists of servers are taken, each id once', () => {
  const config = {
    servers: { 'b-1': { url: 'https://x' }, 'a 1': { command: 'x' } },
    mcpServers: { a_1: { command: 'y' } },
  };
  expect(toCatalog(config).servers.map(({ id }) => id)).toEqual(['a_1', 'b-1', 'a-1']);
  const twice = { mcpServers: { a: { command: 'x' } }, servers: { a: { command: 'x' }, b: {} } };
  expect(problemsOf(twice)).toEqual([
    'servers.a: is the name of a server in "mcpServers" as well: keep one of them',
    expect.stringContaining('servers.b: needs "command" or "url"'),
  ]);
  expect(problemsOf({ mcpServers: {}, servers: [] })).toEqual([
    'servers: is a list: if this is a catalog, it needs no conversion',
  ]);
});

test('what a catalog has no place for is told', () => {
  const onIgnored = vi.fn();
  one({ command: 'serve', autoApprove: ['*'], timeout: 60 }, { onIgnored });
  expect(onIgnored.mock.calls).toEqual([
    ['mcpServers.it.autoApprove', 'a catalog has no place for it'],
    ['mcpServers.it.timeout', 'programs differ in its unit; set request_timeout in the catalog'],
  ]);
});

test('what is for another kind of server is told too', () => {
  const onIgnored = vi.fn();
  one({ url: 'https://x', env: { A: 'b' }, args: ['c'], cwd: '/d' }, { onIgnored });
  one({ command: 'serve', headers: { A: 'b' } }, { onIgnored });
  expect(onIgnored.mock.calls).toEqual([
    ['mcpServers.it.env', 'only a server with a command has it'],
    ['mcpServers.it.args', 'only a server with a command has it'],
    ['mcpServers.it.cwd', 'only a server with a command has it'],
    ['mcpServers.it.headers', 'only a server with a URL has it'],
  ]);
});

test('numbers among variables and headers are texts, and what is null is left out', () => {
  const onIgnored = vi.fn();
  const env = { PORT: 8080, RATE: 0.5, PATH: null, MODE: 'fast' };
  expect(one({ command: 'serve', env }, { onIgnored })?.env).toEqual({ PORT: '8080', RATE: '0.5', MODE: 'fast' });
  expect(one({ url: 'https://x', headers: { 'X-Tenant': 7, 'X-None': null } }, { onIgnored })).toMatchObject({
    runtime: { headers: { 'X-Tenant': '7' } },
  });
  expect(onIgnored.mock.calls).toEqual([
    ['mcpServers.it.env.PATH', 'is null, and a catalog takes no value away'],
    ['mcpServers.it.headers.X-None', 'is null, and a catalog takes no value away'],
  ]);
});

test('what only some programs take for a variable stays as it is, and is told without its value', () => {
  const onIgnored = vi.fn();
  const env = { TOKEN: '$GITHUB_TOKEN', KEY: 'pa$word', PRICE: '5$ or $5', VALUE: '${A:-$B}', INPUT: '${input:p}' };
  const server = { command: 'serve', args: ['--key=$KEY', '${KEY}'], env };
  const options = { onIgnored, variables: { 'input:p': 'pa$word' } };
  expect(one(server, options)).toMatchObject({ env: { ...env, INPUT: 'pa$word' }, runtime: { args: server.args } });
  const reason = 'holds "$NAME", which only some programs replace: write ${NAME} for the variable';
  expect(onIgnored.mock.calls).toEqual([
    ['mcpServers.it.args[0]', reason],
    ['mcpServers.it.env.TOKEN', reason],
    ['mcpServers.it.env.KEY', reason],
  ]);
});

test.each([
  ['no object', 'text', ['is no object']],
  ['nothing of the kind', { tools: {} }, ['has no "mcpServers"']],
  ['a catalog', { servers: [] }, ['servers: is a list']],
  ['no server', { mcpServers: { a: 'npx' } }, ['mcpServers.a: must be an object']],
  ['neither', { mcpServers: { a: {} } }, ['mcpServers.a: needs "command" or "url"']],
  ['both', { mcpServers: { a: { command: 'x', url: 'https://x' } } }, ['mcpServers.a: has both']],
  [
    'two addresses',
    { mcpServers: { a: { url: 'https://x/sse', httpUrl: 'https://x' } } },
    ['mcpServers.a: has several'],
  ],
  ['an unknown transport', { mcpServers: { a: { transport: 'ws', url: 'u' } } }, ['mcpServers.a.transport: is "ws"']],
  [
    'an unknown type',
    { mcpServers: { a: { type: 'htp', url: 'u' } } },
    ['mcpServers.a.type: is "htp"', 'did you mean'],
  ],
  ['a switch', { mcpServers: { a: { command: 'x', env: { A: true } } } }, ['mcpServers.a.env.A: must be a string']],
  ['a number in a list', { mcpServers: { a: { command: 'x', args: ['y', 1] } } }, ['mcpServers.a.args[1]: must be a']],
  [
    'no object of variables',
    { mcpServers: { a: { command: 'x', env: ['A'] } } },
    ['a.env: must be an object of strings'],
  ],
  [
    'a word for a switch',
    { mcpServers: { a: { command: 'x', disabled: 'yes' } } },
    ['a.disabled: must be true or false'],
  ],
  ['no list', { mcpServers: { a: { command: 'x', args: '-y' } } }, ['mcpServers.a.args: must be a list']],
  ['a file of variables', { mcpServers: { a: { command: 'x', envFile: '.env' } } }, ['mcpServers.a.envFile: is not']],
  ['an escape', { mcpServers: { a: { command: 'x', args: ['$${A}'] } } }, ['mcpServers.a.args[0]: holds "$${"']],
])('refuses %s', (_, config, expected) => {
  const problems = problemsOf(config).join('\n');
  for (const part of expected) expect(problems).toContain(part);
});

test('a field that is called like what every object has is a field that a catalog has no place for', () => {
  for (const key of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
    const onIgnored = vi.fn();
    const config = JSON.parse(`{"mcpServers":{"it":{"command":"node","${key}":{}}}}`) as object;
    expect(toCatalog(config, { onIgnored }).servers).toEqual([
      { id: 'it', runtime: { type: 'local-process', command: 'node' } },
    ]);
    expect(onIgnored.mock.calls).toEqual([[`mcpServers.it.${key}`, 'a catalog has no place for it']]);
  }
});

test('lists every problem, and shows no value', () => {
  const config = {
    mcpServers: { a: { command: 1, env: { KEY: '${x y} swordfish' } }, b: null, c: { url: 'https://x' } },
  };
  expect(problemsOf(config).map((problem) => problem.split(':')[0])).toEqual([
    'mcpServers.a.command',
    'mcpServers.a',
    'mcpServers.a.env.KEY',
    'mcpServers.b',
  ]);
  expect(problemsOf(config).join()).not.toContain('swordfish');
});

test('a gateway runs what was converted', async () => {
  const config = { mcpServers: { 'The Echo!': { command: process.execPath, args: [serverPath('tools')] } } };
  await using gateway = createGateway(toCatalog(config));
  await gateway.start('The-Echo');
  expect(gateway.status('The-Echo')).toMatchObject({ phase: 'ready' });
});
