import type { ServerResponse } from 'node:http';
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { createGateway, type GatewayEvent, type GatewayOptions } from '../../src/index.js';
import type { RuntimeContext } from '../../src/runtime.js';
import { LocalProcessRuntime, type LocalProcessSpec } from '../../src/runtimes/local-process.js';
import { ScriptedError, type ScriptedInstance, ScriptedServer } from '../../src/testing/index.js';
import { TestCaller } from '../endpoint/test-caller.js';
import { listen } from '../fixtures/http/listen.js';

// No piece of eight characters of any of these may be seen anywhere.
const canaries = {
  PLAIN: 'CanaryPlain-0123456789abcdef',
  QUOTED: 'Canary"Quoted"\\-0123456789',
  SYMBOLS: 'Canary$&(.*)[x]-0123456789',
  LINES: '-----BEGIN CANARY-----\nQ2FuYXJ5TGluZU9uZTAxMjM0\nQ2FuYXJ5TGluZVR3bzAxMjM0\n-----END CANARY-----',
  UNICODE: 'Känärie-漢字-ß-0123456789',
  CONTROL: 'Canary\u0007Control\u001b[1m-0123456789',
  INDENTED: '{\n  "CanaryKey": "Q2FuYXJ5S2V5MDEyMzQ1",\n\n  "Canary": "short"\n}\n',
  LONG: `CanaryLong${'0123456789'.repeat(400)}`,
};
const frames = ['-----BEGIN CANARY-----', '-----END CANARY-----'];

/** Every place in which text of ours can hide: messages, stacks, causes, own and hidden fields. */
function everywhere(value: unknown): string {
  const error = value instanceof Error ? `${value.message}\n${value.stack}\n${String(value.cause)}` : '';
  return `${inspect(value, { depth: 12, showHidden: true, maxStringLength: null, maxArrayLength: null })}\n${JSON.stringify(value)}\n${error}`;
}

function expectNone(shown: string, secrets: readonly string[]): void {
  const plain = shown.replaceAll('\\n', '\n');
  for (const secret of secrets) {
    for (let at = 0; at + 8 <= secret.length; at += 1) {
      const piece = secret.slice(at, at + 8);
      // What frames a key is no secret.
      if (!frames.some((frame) => frame.includes(piece.trim()))) {
        expect(plain.includes(piece), `"${piece}" of a secret shows in: ${plain.slice(0, 3000)}`).toBe(false);
      }
    }
  }
}

// Writes what it got to stderr, or to stdout in place of a message, in the way its first argument says, and dies.
const tell = `
const all = [...process.argv.slice(2), process.env.SECRET ?? '', process.cwd()].join('\\n');
const [how, stream = 'stderr'] = process.argv[1].split(' to ');
const out = (text, then) => process[stream].write(text, then);
if (how === 'whole') out(all + '\\n', () => process.exit(3));
if (how === 'split') { let n = 0; const bytes = Buffer.from(all); const next = () => n < bytes.length ? out(bytes.subarray(n, n += 7), () => setTimeout(next, 1)) : process.exit(3); next(); }
if (how === 'cut-by-death') { const bytes = Buffer.from(process.env.SECRET); out('last words: ' + '', () => out(bytes.subarray(0, bytes.length - 5), () => process.exit(3))); }
if (how === 'cut-in-json') out('last words: ' + JSON.stringify(process.env.SECRET).slice(0, -3), () => process.exit(3));
if (how === 'cut-in-line') out('last words: ' + process.env.SECRET.split('\\n').at(2).slice(0, -4), () => process.exit(3));
if (how.startsWith('cut-by-tail')) { const fill = Number(how.split('-')[3]); out(process.env.SECRET + 'x'.repeat(fill) + '\\n'.repeat(stream === 'stdout'), () => process.exit(3)); }
if (how === 'coloured') out(all.split('').join('\\u001b[0m'), () => process.exit(3));
process.stdin.resume();
`;

async function provoke(
  how: string,
  secret: string,
  spec: Record<string, unknown> = {},
  entry: Record<string, unknown> = {},
  options: GatewayOptions = {},
) {
  const events: GatewayEvent[] = [];
  const seen: unknown[] = [];
  const gateway = createGateway(
    {
      servers: [
        {
          id: 'a',
          env: { SECRET: '${CANARY}' },
          runtime: {
            type: 'local-process',
            command: process.execPath,
            args: ['-e', tell, how, '${CANARY}', 'x${CANARY}y'],
            ...spec,
          },
          ...entry,
        },
      ],
    } as never,
    { env: { ...process.env, CANARY: secret }, onEvent: (event) => events.push(event), ...options },
  );
  seen.push(gateway.describe('a'), await gateway.check());
  const transport = gateway.connect('a');
  const closed = new Promise<void>((resolve) => {
    transport.onclose = resolve;
  });
  transport.onerror = (error) => seen.push(error);
  transport.onmessage = (message) => seen.push(message);
  try {
    await transport.start();
    await transport.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: {} });
    await closed;
    await transport.send({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: {} });
  } catch (error) {
    seen.push(error);
  }
  seen.push(gateway.status(), gateway.status('a'));
  await gateway.close();
  expect(events.length).toBeGreaterThan(1);
  return { shown: [...seen, ...events].map(everywhere).join('\n'), seen };
}

describe.each(Object.entries(canaries))('a secret (%s)', (_name, secret) => {
  test.each(['whole', 'split', 'coloured', 'whole to stdout', 'split to stdout'])(
    'that a server echoes (%s) shows nowhere',
    async (how) => {
      const { shown } = await provoke(how, secret);
      expect(shown).toContain('${CANARY}');
      expectNone(shown, [secret]);
    },
  );

  test('that a server had written in part when it died shows nowhere', async () => {
    for (const how of ['cut-by-death', 'cut-by-death to stdout']) {
      const { shown } = await provoke(how, secret);
      expect(shown).toContain(secret.length < 2000 || how === 'cut-by-death' ? 'last words' : 'ended with code 3');
      expectNone(shown, [secret]);
    }
  });

  test('of which the tail, or what a message holds of it, begins in the middle shows nowhere', async () => {
    const bytes = Buffer.byteLength(secret);
    // The tail keeps 64 KiB, a message shows its last 2000 characters.
    for (const kept of [
      64 * 1024 - Math.floor(bytes / 2),
      64 * 1024 - bytes + 1,
      2000 - Math.floor(secret.length / 2),
    ]) {
      const { shown } = await provoke(`cut-by-tail-${Math.max(0, kept)}`, secret);
      expectNone(shown, [secret]);
    }
    // Of stdout 2000 bytes are kept, the newline among them.
    for (const kept of [1999 - Math.floor(bytes / 2), 1999 - bytes + 1]) {
      const { shown } = await provoke(`cut-by-tail-${Math.max(0, kept)} to stdout`, secret);
      expectNone(shown, [secret]);
    }
  });
});

test('a secret of 30 KB, for one form of which there is no pattern, shows nowhere', async () => {
  const secret = `CanaryLong${'0123456789'.repeat(3_000)}`;
  const { shown } = await provoke('whole', secret, { args: ['-e', tell, 'whole'] });
  expect(shown).toContain('ended with code 3; its output ends with: ${CANARY}');
  expectNone(shown, [secret.slice(0, 30)]);
});

test.each(['QUOTED', 'CONTROL'] as const)(
  'a secret (%s) that a server had written as JSON, and in part, when it died shows nowhere',
  async (name) => {
    const { shown } = await provoke('cut-in-json', canaries[name], { args: ['-e', tell, 'cut-in-json'] });
    expect(shown).toContain('ended with code 3; its output ends with: last words');
    expectNone(shown, [canaries[name]]);
  },
);

test('a line of a secret that a server had written in part when it died shows nowhere', async () => {
  const { shown } = await provoke('cut-in-line', canaries.LINES, { args: ['-e', tell, 'cut-in-line'] });
  expect(shown).toContain('ended with code 3; its output ends with: last words');
  expectNone(shown, [canaries.LINES]);
});

/** All that is told of a server over HTTP that answers in the way that is given. */
async function provokeOverHttp(
  secret: string,
  spec: object,
  answer: (asked: string, response: ServerResponse) => void,
) {
  await using listening = await listen(({ url = '', headers }, response) => {
    answer(`${url} ${headers['x-key'] ?? ''}`.trim(), response);
  });
  const events: GatewayEvent[] = [];
  const runtime = { type: 'remote-sse', url: `${listening.origin}/mcp`, transport: 'streamable-http' } as const;
  const at = 'path' in spec ? { url: listening.origin + spec.path } : spec;
  await using gateway = createGateway(
    { servers: [{ id: 'a', runtime: { ...runtime, ...at } }] },
    { env: { CANARY: secret }, onEvent: (event) => events.push(event) },
  );
  const seen: unknown[] = [gateway.describe('a'), await gateway.check()];
  await using caller = await TestCaller.open(gateway.connect());
  seen.push(await caller.error('tools/call', { name: 'a__tool' }));
  seen.push(gateway.status(), events);
  return everywhere(seen);
}

const refused = (asked: string, response: ServerResponse) => response.writeHead(403).end(`not for ${asked}`);

test.each(
  ['Canary{ab}|c^d`e-0123456789', 'Canary"\\b/../c[d]-0123456789', 'Canary-123\n', ' Canary-12345 '].flatMap((secret) =>
    ['/${CANARY}', '/a/${CANARY}/mcp', '/mcp?key=${CANARY}', '/mcp?key=${CANARY}&a=1'].map((path) => [secret, path]),
  ),
)('a secret in a URL (%j at %s) shows nowhere, however URLs write it', async (secret = '', path = '') => {
  const shown = await provokeOverHttp(secret, { path }, refused);
  expect(shown).toContain('not for /');
  expectNone(shown, [secret.trim(), encodeURI(secret.trim())]);
});

test('a secret with blanks around it, which no header keeps, shows nowhere when a server repeats the header', async () => {
  for (const secret of [' Canary-0123456789', 'Canary-0123456789 ', '\tCanary-0123456789\t']) {
    const shown = await provokeOverHttp(secret, { headers: { 'X-Key': '${CANARY}' } }, refused);
    expect(shown).toContain('not for /mcp');
    expectNone(shown, [secret.trim()]);
  }
});

test.each<[string, (asked: string, response: ServerResponse) => void]>([
  ['an excerpt', (asked, response) => response.writeHead(403).end(`${'x'.repeat(288)}${asked} and more`)],
  [
    'the title of a page',
    (asked, response) =>
      response.setHeader('content-type', 'text/html').end(`<title>${'x'.repeat(188)}${asked}</title>`),
  ],
])('a secret that ends with %s shows nowhere', async (_, answer) => {
  const shown = await provokeOverHttp(canaries.PLAIN, { path: '/${CANARY}' }, (asked, response) => {
    answer(asked.replaceAll(' ', 'x'), response);
  });
  expect(shown).toContain('/…');
  expectNone(shown, [canaries.PLAIN]);
});

/** Reads a secret itself, as docker reads an `env_file`. */
class ReadingRuntime extends LocalProcessRuntime {
  readonly #secret: string;

  constructor(secret: string) {
    super();
    this.#secret = secret;
  }

  override open(spec: LocalProcessSpec, context: RuntimeContext) {
    context.conceal({ API_TOKEN: this.#secret, PORT: '3' });
    context.report('starting', { message: `reads ${this.#secret}` });
    if (spec.command === 'none') {
      throw new Error(`no command for ${this.#secret}`);
    }
    return super.open(spec, { ...context, env: { SECRET: this.#secret } });
  }

  override async check(_: LocalProcessSpec, context: RuntimeContext) {
    context.conceal({ API_TOKEN: this.#secret });
    return { ok: false, problems: [`${this.#secret} is not known`] };
  }
}

test.each(
  Object.entries(canaries).flatMap(([name, secret]) =>
    ['whole', 'split', 'cut-by-death', 'no start'].map((how) => [name, how, secret] as const),
  ),
)('a secret (%s) that a runtime has read itself shows nowhere (%s)', async (_, how, secret) => {
  const spec = { args: ['-e', tell, how], ...(how === 'no start' && { command: 'none' }) };
  const { shown } = await provoke(how, secret, spec, { env: {} }, { runtimes: [new ReadingRuntime(secret)] });
  expect(shown).toContain(how === 'no start' ? 'no command for ${API_TOKEN}' : 'ended with code 3');
  expect(shown).toContain('${API_TOKEN} is not known');
  expect(shown).toContain('reads ${API_TOKEN}');
  expectNone(shown, [secret]);
});

test.each([
  ['a command that is not there', { command: '/nowhere/${CANARY}' }],
  ['a name that is not in PATH', { command: 'program-${CANARY}' }],
  ['a directory that is not there', { working_dir: '/nowhere/${CANARY}' }],
  ['arguments that are too long', { args: ['${CANARY}', 'x'.repeat(200_000)] }],
])('a secret in %s shows nowhere', async (_name, spec) => {
  const { shown } = await provoke('whole', canaries.PLAIN, spec);
  expect(shown).toContain('START_FAILED');
  expectNone(shown, [canaries.PLAIN]);
});

test('a secret that a server puts into an error shows in no event, status or error of ours', async () => {
  const refuse = (_: unknown, { context }: ScriptedInstance) => {
    throw new ScriptedError(-32000, `wrong password: ${context.env.PASSWORD}`);
  };
  const shy = new ScriptedServer({ on: { initialize: refuse } });
  const listless = new ScriptedServer({ tools: [], on: { 'tools/list': refuse } });
  const events: GatewayEvent[] = [];
  await using gateway = createGateway(
    {
      servers: Object.entries({ shy, listless }).map(([id, { runtime }]) => ({
        id,
        env: { PASSWORD: '${CANARY}' },
        runtime,
      })),
    },
    { env: { CANARY: canaries.PLAIN }, onEvent: (event) => events.push(event) },
  );
  await using caller = await TestCaller.open(gateway.connect());
  const failed = await caller.error('tools/call', { name: 'shy__tool' });
  expect(failed.message).toBe('"shy": the server refused initialize: wrong password: ${CANARY}');
  await caller.result('tools/list');
  expect(gateway.status('shy').lastError?.message).toContain('wrong password: ${CANARY}');
  expect(events).toContainEqual(
    expect.objectContaining({
      type: 'list-incomplete',
      server: 'listless',
      reason: { code: 'UNKNOWN', message: '"listless": tools/list was answered with error -32000' },
    }),
  );
  expectNone(everywhere([failed, gateway.status(), events]), [canaries.PLAIN]);
});

const given = { CANARY: canaries.PLAIN };
test.each(
  (['caller', 'shared', 'request'] as const).flatMap((isolation) => [
    { isolation, env: given, how: 'an object' },
    { isolation, env: () => given, how: 'a function' },
  ]),
)(
  'a secret in a URI that two servers list shows in no event, isolation: $isolation, env: $how',
  async ({ isolation, env }) => {
    const events: GatewayEvent[] = [];
    const uri = (password: string | undefined) => `db://anna:${password}@host/orders`;
    const lists = (_: unknown, { context }: ScriptedInstance) => ({
      resources: [{ name: 'orders', uri: uri(context.env.PASSWORD) }],
    });
    await using gateway = createGateway(
      {
        servers: ['one', 'two'].map((id) => ({
          id,
          isolation,
          env: { PASSWORD: '${CANARY}' },
          runtime: new ScriptedServer({ resources: [], on: { 'resources/list': lists } }).runtime,
        })),
      },
      { env, onEvent: (event) => events.push(event) },
    );
    await using caller = await TestCaller.open(gateway.connect());
    expect(await caller.list('resources')).toHaveLength(2);
    expect(events).toContainEqual(
      expect.objectContaining({ type: 'uri-conflict', server: 'two', uri: uri('${CANARY}') }),
    );
    expectNone(everywhere(events), [canaries.PLAIN]);
  },
);

test('where access is granted is told by either kind of connection, without a secret in its path', async () => {
  // By RFC 9728 the address of the metadata repeats the path.
  const metadata = '/.well-known/oauth-protected-resource';
  await using listening = await listen(({ headers, url }, response) => {
    const challenge = `Bearer scope="read", resource_metadata="http://${headers.host}${metadata}${url}"`;
    response.writeHead(401, { 'www-authenticate': challenge }).end();
  });
  const url = `${listening.origin}/\${CANARY}/mcp`;
  await using gateway = createGateway(
    { servers: [{ id: 'locked', runtime: { type: 'remote-sse', url } }] },
    { env: { CANARY: canaries.PLAIN } },
  );
  const errors: unknown[] = [];
  await using merged = await TestCaller.open(gateway.connect());
  errors.push(await merged.error('tools/call', { name: 'locked__tool' }));
  await using raw = new TestCaller(gateway.connect('locked'));
  await raw.transport.start();
  errors.push(await raw.error('initialize', {}));
  for (const error of errors) {
    expect(error).toMatchObject({
      data: {
        code: 'AUTH_REQUIRED',
        status: 401,
        auth: { serverUrl: url, resourceMetadataUrl: url.replace('/$', `${metadata}/$`), scope: 'read' },
      },
    });
  }
  expectNone(everywhere(errors), [canaries.PLAIN]);
});
