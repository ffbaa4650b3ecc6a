import { describe, expect, test } from 'vitest';
import { createGateway, type GatewayError, parseCatalog } from '../../src/index.js';

const runtime = 'runtime: { type: local-process, command: x }';
const entry = (rest: string) => `servers:\n  - id: a\n    ${runtime}\n    ${rest}\n`;

/** What is wrong with a catalog, without its places. */
async function problemsOf(make: () => unknown): Promise<string[]> {
  const error: unknown = await Promise.try(make).catch((thrown: unknown) => thrown);
  return (error as GatewayError).issues?.map(({ path, message }) => `${path}: ${message}`) ?? [String(error)];
}

async function problemsOfText(text: string): Promise<string[]> {
  return problemsOf(async () => createGateway(await parseCatalog(text)));
}

const quoteIt = ': has a "${…}" without quotes inside { } or [ ]: quote it, as in { TOKEN: "${TOKEN}" }';

describe('what is easily written wrong gets one answer that helps', () => {
  test.each([
    ['request_timeout: 0', 'servers[0].request_timeout: must be longer than 0, such as "30s"'],
    ['start_timeout: 0s', 'servers[0].start_timeout: must be longer than 0, such as "30s"'],
    ['list_timeout: -1', 'servers[0].list_timeout: must be a duration such as "500ms", "30s", "5m" or "2h"'],
    ['health: { timeout: 0 }', 'servers[0].health.timeout: must be longer than 0, such as "30s"'],
    ['idle_timeout: 300', 'servers[0].idle_timeout: must be a duration with its unit, as in "300s" or "300ms", or 0'],
    ['max_message: 0', 'servers[0].max_message: must be at least "1KiB"'],
    ['max_message: 65536', 'servers[0].max_message: must be a size with its unit, as in "65536B" or "16MiB"'],
    ['tools: [a, b]', 'servers[0].tools: must be an object, not a list'],
    ['timeout: 5m', 'servers[0].timeout: is not a known key; did you mean "request_timeout"?'],
    ['command: node', 'servers[0].command: is not a known key here: it belongs into "runtime"'],
    ['args: [x]', 'servers[0].args: is not a known key here: it belongs into "runtime"'],
    ['url: "https://x.y"', 'servers[0].url: is not a known key here: it belongs into "runtime"'],
    ['image: x', 'servers[0].image: is not a known key here: it belongs into "runtime"'],
    [
      'env: { T: "${env:TOKEN}" }',
      'servers[0].env.T: has a "${env:TOKEN}", which is written ${TOKEN} here; write $${ for a literal ${',
    ],
    ['env: { T: ${HOME} }', quoteIt],
    ['env: { T: ${HOME:-x}, U: "y" }', quoteIt],
    ['tags: [${HOME}]', quoteIt],
  ])('%s', async (rest, problem) => {
    expect(await problemsOfText(entry(rest))).toEqual([problem]);
  });

  test.each([
    '// mine\n{ "servers": [] }',
    '{\n  // mine\n  "servers": []\n}',
    '{ "servers": [\n  // the first\n  {}] }',
    '{ "servers": [\n  //{},\n  {}] }',
    '{\n  //"x": 1,\n  "servers": [] }',
    '{ "servers": [{ "id": "a", "enabled": true // for now\n , "runtime": {} }] }',
    '{ "servers": [{ "id": "a", "enabled": true, // for now\n  "runtime": {} }] }',
    '{ "servers": [], /* "more": */ }',
    '{ "servers": [] } // the end',
  ])('JSON with a comment: %j', async (text) => {
    const problem = ': is not JSON: comments have no place in it; remove them';
    for (const format of [undefined, 'yaml', 'json'] as const) {
      expect(await problemsOf(() => parseCatalog(text, { format }))).toEqual([problem]);
    }
  });

  const idRule = 'servers[0].id: must start with a letter or digit and be made of letters, digits, "_" and "-": ';

  test.each([
    ['p\u043estgres', '"p\u043estgres", where "\u043e" is U+043E'],
    ['a\u200b', '"a\\u200b", where "\\u200b" is U+200B'],
    ['a\u{1f600}', '"a\u{1f600}", where "\u{1f600}" is U+1F600'],
    ['a.b', '"a.b"'],
  ])('an id with a character that looks like another, or like none: %j', async (id, shown) => {
    const text = `servers: [{ id: ${JSON.stringify(id)}, ${runtime} }]`;
    expect(await problemsOfText(text)).toEqual([idRule + shown]);
  });

  test('a key with a character that is not seen', async () => {
    expect(await problemsOfText(entry('"enabled\u200b": true'))).toEqual([
      'servers[0]["enabled\\u200b"]: is not a known key; did you mean "enabled"?',
    ]);
  });

  test('two slashes that are none', async () => {
    const text = '{ "servers": [{ "id": "a", "runtime": { "type": "local-process", "command": //share/x } }] }';
    expect((await parseCatalog(text)).servers[0]?.runtime).toMatchObject({ command: '//share/x' });
  });

  test.each([
    ['stdio', 'local-process'],
    ['http', 'remote-sse'],
    ['sse', 'remote-sse'],
    ['streamable-http', 'remote-sse'],
    ['streamableHttp', 'remote-sse'],
  ])('type: %s', async (type, meant) => {
    const [problem, ...more] = await problemsOfText(`servers: [{ id: a, runtime: { type: ${type} } }]`);
    expect(problem).toContain(`unknown runtime type "${type}"; did you mean "${meant}"?`);
    expect(more).toEqual([]);
  });

  test.each([
    [
      'local-process, command: x, stop_timeout: { stdin: 5 }',
      'stop_timeout.stdin: has no unit; write it as "5s" or "5ms"',
    ],
    [
      'local-process, command: x, stop_timeout: { stdin: 0 }',
      'stop_timeout.stdin: must be a string: quote it, as in "0"',
    ],
    [
      'local-process, command: x, stop_timeout: { stdin: "5" }',
      'stop_timeout.stdin: is not a duration; write it as 500ms, 30s or 5m',
    ],
    ['local-process, command: x, inherit_env: HOME', 'inherit_env: must be true, false or a list of names'],
    ['local-process, command: x, inherit_env: [1]', 'inherit_env[0]: must be a string: quote it, as in "1"'],
    [
      'local-process, command: x, inherit_env: ["A=b"]',
      'inherit_env[0]: is not the name of a variable; values go into env',
    ],
    [
      'local-process, command: x, inherit_env: [""]',
      'inherit_env[0]: is not the name of a variable; values go into env',
    ],
    ['k8s-job, namespace: n, image: i, ttl: 60', 'ttl: has no unit; write it as "60s" or "60ms"'],
    ['k8s-job, namespace: n, image: i, active_deadline: 0', 'active_deadline: must be a string: quote it, as in "0"'],
    ['local-process, command: x, env: { A: b }', 'env: is not a known key here: it belongs beside "runtime"'],
    ['docker, image: i, env: { A: b }', 'env: is not a known key here: it belongs beside "runtime"'],
    ['remote-sse, url: "https://x.y", tools: {}', 'tools: is not a known key here: it belongs beside "runtime"'],
    ['remote-sse, url: "https://x.y", env: {}', 'env: is not a known key; known are url, headers, transport'],
    ['docker, image: i, memory: 512', 'memory: has no unit; write it as 512m, 1.5g or 64MiB'],
    ['docker, image: i, memory: 0', 'memory: must be a string: quote it, as in "0"'],
    ['docker, image: i, memory: 536870912', 'memory: must be a string: quote it, as in "536870912"'],
  ])('type: %s', async (fields, problem) => {
    expect(await problemsOfText(`servers: [{ id: a, runtime: { type: ${fields} } }]`)).toEqual([
      `servers[0].runtime.${problem}`,
    ]);
  });

  test('variables and headers as a list of names and values: what its items lack is not told', async () => {
    const list = '[{ name: A, value: b }, 5]';
    expect(await problemsOfText(entry(`env: ${list}`))).toEqual(['servers[0].env: must be an object, not a list']);
    const remote = `{ type: remote-sse, url: "https://x.y", headers: ${list} }`;
    expect(await problemsOfText(`servers: [{ id: a, runtime: ${remote} }]`)).toEqual([
      'servers[0].runtime.headers: must be an object, not a list',
    ]);
  });

  test('a file of another program', async () => {
    expect(await problemsOfText('mcpServers: { a: { command: node } }')).toEqual([
      'mcpServers: is not a known key: toCatalog() makes a catalog of what is written for other programs',
    ]);
    expect(await problemsOfText('servers: { a: { command: node } }')).toEqual([
      'servers: must be a list of servers, not an object: toCatalog() makes a catalog of what is written for other programs',
    ]);
  });

  test.each(['servers:\n  id: a\n  RUNTIME', 'servers:\n  a:\n    RUNTIME'])(
    'a list without dashes: %j',
    async (text) => {
      expect(await problemsOfText(text.replace('RUNTIME', runtime))).toEqual([
        'servers: must be a list of servers, not an object: begin each with "- id:", or in JSON write [{ "id": … }]',
      ]);
    },
  );

  test.each<[unknown, string]>([
    [Promise.resolve({ servers: [] }), 'a promise: await it'],
    ['catalog.yaml', 'a string: use loadCatalog() for a file, or parseCatalog() for its text'],
    [undefined, 'undefined'],
    [null, 'empty'],
    [[], 'a list'],
  ])('createGateway(%o)', async (catalog, found) => {
    expect(await problemsOf(() => createGateway(catalog as never))).toEqual([
      `: a catalog is an object with the key "servers", not ${found}`,
    ]);
  });

  test.each([
    ['node server.js --x', 'was not found; arguments go into args'],
    ['npx -y @scope/server', 'does not exist; install it or change command, arguments go into args'],
  ])('a command with its arguments: %s', async (command, advice) => {
    await using gateway = createGateway({ servers: [{ id: 'a', runtime: { type: 'local-process', command } }] });
    const [check] = await gateway.check();
    expect(check?.problems).toEqual([expect.stringContaining(advice)]);
  });
});
