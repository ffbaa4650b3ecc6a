import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findBlocks } from '../docs/markdown.js';
import { freePort } from '../support/free-port.js';
import { createPackedProject, type PackedProject, root } from './packed-project.js';

const blocks = findBlocks(readFileSync(join(root, 'docs/getting-started.md'), 'utf8'));
const commands = blocks.filter(({ language }) => language === 'sh').flatMap(({ text }) => text.split('\n'));

let project: PackedProject;

beforeAll(() => {
  project = createPackedProject();
  // What the page installs and nothing else; the package and its dependencies are there already.
  const [, install = ''] = /^npm install (.*)$/m.exec(commands.join('\n')) ?? [];
  const names = install.split(' ').filter((name) => name !== 'open-mcp-gateway');
  expect(names).toContain('@modelcontextprotocol/sdk');
  for (const name of names.filter((name) => name !== '@modelcontextprotocol/sdk')) project.link(name);
  writeFileSync(join(project.folder, 'package.json'), JSON.stringify({ type: 'module' }));
  for (const { example = '', text } of blocks) {
    const [file = ''] = example.split('#');
    if (dirname(file) === 'docs/examples/getting-started') writeFileSync(join(project.folder, basename(file)), text);
  }
});

afterAll(() => project?.[Symbol.dispose]());

/** A program of the page that is running, ended by whoever started it. */
function start(args: readonly string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, args, {
    cwd: project.folder,
    // Without this Node's own test runner would report to a parent that is none.
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  return {
    child,
    output: () => output,
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || !child.kill('SIGKILL')) return;
      await once(child, 'close');
    },
  };
}

async function run(command: string, env?: Record<string, string>) {
  expect(commands).toContain(command);
  await using program = start(command.split(' ').slice(1), env);
  const [code] = await once(program.child, 'close');
  return { code, output: program.output() };
}

/** What the page says that a command prints. */
function shown(command: string): string {
  const at = blocks.findIndex(({ language, text }) => language === 'sh' && text === command);
  const next = blocks[at + 1];
  if (next?.language !== 'text') throw new Error(`the page does not show what "${command}" prints`);
  return `${next.text}\n`;
}

/** The server of the page that runs elsewhere, at a free port instead of the page's. */
async function startRemote() {
  const port = String(await freePort());
  const [command = ''] = commands.filter((line) => line.startsWith('PORT='));
  expect(command).toBe('PORT=3001 npx mcp-server-everything streamableHttp');
  const program = start(['node_modules/@modelcontextprotocol/server-everything/dist/index.js', 'streamableHttp'], {
    PORT: port,
  });
  await lineOf(program.child, 'stderr', /listening on port/);
  return Object.assign(program, { env: { REMOTE_URL: `http://127.0.0.1:${port}/mcp` } });
}

async function lineOf(child: ChildProcess, from: 'stdout' | 'stderr', pattern: RegExp): Promise<string> {
  for await (const line of createInterface({ input: child[from] as NodeJS.ReadableStream })) {
    if (pattern.test(line)) return line;
  }
  throw new Error(`the program ended without a line like ${pattern}`);
}

test('a catalog and a gateway', async () => {
  expect(await run('node main.ts')).toEqual({ code: 0, output: shown('node main.ts') });
});

test('all servers as one', async () => {
  await using remote = await startRemote();
  expect(await run('node all.ts', remote.env)).toEqual({ code: 0, output: shown('node all.ts') });
});

test('over HTTP, until a signal', async () => {
  await using remote = await startRemote();
  const port = String(await freePort());
  expect(commands).toContain('node host.ts');
  await using host = start(['host.ts'], { ...remote.env, PORT: port });
  await lineOf(host.child, 'stdout', /^listening/);

  const client = new Client({ name: 'test', version: '1.0.0' });
  await client.connect(new StreamableHTTPClientTransport(new URL(`http://127.0.0.1:${port}`)));
  const { tools } = await client.listTools();
  expect(new Set(tools.map(({ name }) => name.split('__')[0]))).toEqual(new Set(['local', 'remote']));
  await client.close();

  const ended = once(host.child, 'close');
  host.child.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
});

test('a unit test', async () => {
  const { code, output } = await run('node --test clock.test.ts');
  expect(code, output).toBe(0);
  expect(output).toMatch(/pass 1\b/);
});
