import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { server, startHost } from '../examples/start-host.js';
import { createTag, tagVariable, untilLiving } from '../support/processes.js';
import { install, root } from './install.js';

const folder = join(root, 'test/frameworks/inspector');
const program = join(folder, 'node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js');
const servers = [
  server('everything', join(root, 'node_modules/@modelcontextprotocol/server-everything/dist/index.js')),
  server('late', join(root, 'test/fixtures/servers/tools.mjs'), '1000'),
];
const tag = createTag();
let home: string;
let http: Awaited<ReturnType<typeof startHost>>;

beforeAll(async () => {
  await install(folder);
  home = await mkdtemp(join(tmpdir(), 'inspector-'));
  await writeFile(join(home, 'catalog.json'), JSON.stringify({ servers }));
  http = await startHost('node-http', servers);
});

afterAll(async () => {
  await http?.[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
});

const targets: Record<string, () => { readonly options: string[]; readonly target: string[] }> = {
  stdio: () => ({
    options: ['-e', `${tagVariable}=${tag}`],
    target: [process.execPath, join(root, 'docs/examples/hosts/stdio.ts'), join(home, 'catalog.json')],
  }),
  HTTP: () => ({
    options: ['--transport', 'http', '--server-url', http.url, '--header', 'Authorization: Bearer token of ada'],
    target: [],
  }),
};

/** Runs the Inspector once and gives the JSON that it printed. */
async function inspect(via: string, ...args: string[]) {
  const { options, target } = (targets[via] as (typeof targets)[string])();
  const command = [program, '--cli', ...options, '--format', 'json', ...args, ...(target.length > 0 ? ['--'] : [])];
  const { stdout, stderr, code } = await promisify(execFile)(process.execPath, [...command, ...target], {
    // It keeps what it remembers below the home of its user.
    env: { ...process.env, HOME: home },
    maxBuffer: 16 * 1024 * 1024,
  }).then(
    (output) => ({ ...output, code: 0 }),
    (error: { stdout: string; stderr: string; code: number }) => error,
  );
  const text = code === 0 ? stdout : stderr;
  return { code, ...JSON.parse(text.slice(text.indexOf('{'))) };
}

describe.each(Object.keys(targets))('the MCP Inspector against the host over %s', (via) => {
  test.each(['legacy', 'auto'])('lists the tools of both servers, era %s', async (era) => {
    const { code, result } = await inspect(via, '--protocol-era', era, '--method', 'tools/list');
    const names = result.tools.map(({ name }: { name: string }) => name);
    expect(code).toBe(0);
    expect(names).toEqual(expect.arrayContaining(['everything__echo', 'late__echo', 'late__slow', 'late__crash']));
  });

  test('finds nothing in the schemas of the tools that other clients could stumble over', async () => {
    expect(await inspect(via, '--strict', '--method', 'tools/list')).toMatchObject({ code: 0 });
  });

  test('calls a tool of each', async () => {
    const call = (tool: string, arg: string) =>
      inspect(via, '--method', 'tools/call', '--tool-name', tool, '--tool-arg', arg);
    expect(await call('everything__echo', 'message=hello')).toMatchObject({
      code: 0,
      result: { content: [{ type: 'text', text: 'Echo: hello' }] },
    });
    expect(await call('late__echo', 'text=hello')).toMatchObject({
      code: 0,
      result: { content: [{ type: 'text', text: '{"text":"hello"}' }] },
    });
  });

  test('reads resources and prompts', async () => {
    const { result: listed } = await inspect(via, '--method', 'resources/list');
    const uri = 'demo://resource/static/document/features.md';
    expect(listed.resources.map((resource: { uri: string }) => resource.uri)).toContain(uri);
    expect(await inspect(via, '--method', 'resources/read', '--uri', uri)).toMatchObject({
      code: 0,
      result: { contents: [{ uri, text: expect.stringContaining('# ') }] },
    });
    const { result: templates } = await inspect(via, '--method', 'resources/templates/list');
    expect(templates.resourceTemplates).not.toEqual([]);
    const prompt = [
      '--method',
      'prompts/get',
      '--prompt-name',
      'everything__args-prompt',
      '--prompt-args',
      'city=Oslo',
    ];
    expect(await inspect(via, ...prompt)).toMatchObject({
      code: 0,
      result: { messages: [{ role: 'user', content: { type: 'text', text: expect.stringContaining('Oslo') } }] },
    });
  });

  test('is told which server crashed', async () => {
    const { code, error } = await inspect(via, '--method', 'tools/call', '--tool-name', 'late__crash');
    expect(code).not.toBe(0);
    expect(error.message).toMatch(/"late".*code 3/);
  });
});

test('the MCP Inspector without a token is not let in', async () => {
  const { code, error } = await inspect('HTTP', '--header', 'Authorization: Bearer none', '--method', 'tools/list');
  expect(code).not.toBe(0);
  expect(error).toMatchObject({ code: 'auth_required' });
});

test('hosts on stdio leave nothing behind when the Inspector is done', async () => {
  expect(await inspect('stdio', '--method', 'tools/list')).toMatchObject({ code: 0 });
  expect(await untilLiving(tag, (count) => count === 0, 60_000)).toEqual([]);
});
