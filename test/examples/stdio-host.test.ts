import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Client as ClientV2 } from '@modelcontextprotocol/client';
import { StdioClientTransport as StdioClientTransportV2 } from '@modelcontextprotocol/client/stdio';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { referenceServerPath } from '../../src/testing/index.js';
import { createTag, livingWithTag, tagVariable, untilLiving } from '../support/processes.js';
import { serverPath } from '../support/trees.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const script = join(root, 'docs/examples/hosts/stdio.ts');
const program = (name: string) =>
  join(
    dirname(fileURLToPath(import.meta.resolve(`@modelcontextprotocol/server-${name}/package.json`))),
    'dist/index.js',
  );
const info = { name: 'test', version: '1' };
// A guard against hanging only.
const guardMs = 60_000;

let folder: string;

/** Writes a catalog whose servers carry the host's tag. */
async function writeCatalog(name: string, servers: Record<string, readonly [string, ...string[]]>): Promise<string> {
  const path = join(folder, name);
  const entries = Object.entries(servers).map(([id, [command, ...args]]) => ({
    id,
    env: { [tagVariable]: '${TEST_PROCESS_TAG}' },
    start_timeout: '60s',
    list_timeout: '60s',
    runtime: { type: 'local-process', command, args },
  }));
  await writeFile(path, JSON.stringify({ servers: entries }));
  return path;
}

let official: string;
let hard: string;

beforeAll(async () => {
  if (!existsSync(`${root}/dist/index.js`)) {
    throw new Error('examples import the built package: run `npm run build` first');
  }
  folder = await mkdtemp(join(tmpdir(), 'stdio-host-'));
  official = await writeCatalog('official.json', {
    everything: [process.execPath, program('everything'), 'stdio'],
    memory: [process.execPath, program('memory')],
  });
  const reference = `"${process.execPath}" "${referenceServerPath()}"`;
  hard = await writeCatalog('hard.json', {
    plain: [process.execPath, referenceServerPath()],
    // Ends neither at the end of its input nor for SIGTERM.
    stubborn: ['/bin/sh', '-c', `trap '' TERM; ${reference}; while :; do sleep 1; done`],
    // Says what is no protocol, on both of its streams.
    noisy: ['/bin/sh', '-c', `echo 'starting up...'; echo 'a warning' >&2; exec ${reference}`],
    missing: [join(folder, 'no-such-program')],
    // Its answers are no MCP.
    rubbish: [process.execPath, serverPath('echo')],
  });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

const sdks = {
  v1: (env: Record<string, string>) => {
    const client = new Client(info);
    const transport = new StdioClientTransport({ command: process.execPath, args: [script, official], env });
    return { client, transport, connect: () => client.connect(transport) };
  },
  v2: (env: Record<string, string>) => {
    const client = new ClientV2(info);
    const transport = new StdioClientTransportV2({ command: process.execPath, args: [script, official], env });
    return { client, transport, connect: () => client.connect(transport) };
  },
  // Asks a second host, which it starts for that alone, whether it speaks the modern era.
  'v2 that negotiates': (env: Record<string, string>) => {
    const client = new ClientV2(info, { versionNegotiation: { mode: 'auto' } });
    const transport = new StdioClientTransportV2({ command: process.execPath, args: [script, official], env });
    return { client, transport, connect: () => client.connect(transport) };
  },
} as const;

describe.each(Object.keys(sdks) as (keyof typeof sdks)[])('a stdio client of SDK %s', (sdk) => {
  test('lists and calls through the host, and leaves no process when it closes', async () => {
    const tag = createTag();
    const { client, transport, connect } = sdks[sdk]({ [tagVariable]: tag });
    await connect();
    expect(client.getServerVersion()).toMatchObject({ name: 'open-mcp-gateway' });
    const names = (await client.listTools()).tools.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['everything__echo', 'memory__read_graph']));
    const answer = await client.callTool({ name: 'everything__echo', arguments: { message: 'hello' } });
    expect(answer.content).toEqual([{ type: 'text', text: 'Echo: hello' }]);
    expect(await client.readResource({ uri: 'demo://resource/dynamic/text/3' })).toMatchObject({
      contents: [{ text: expect.stringContaining('Resource 3') }],
    });
    // The host and its two servers at least.
    expect(livingWithTag(tag)).toContain(transport.pid);
    expect(livingWithTag(tag).length).toBeGreaterThanOrEqual(3);
    await client.close();
    expect(await untilLiving(tag, (count) => count === 0, guardMs)).toEqual([]);
  });
});

interface RawHost extends AsyncDisposable {
  readonly child: ChildProcess;
  readonly tag: string;
  /** Everything that it wrote to stdout, by lines. */
  readonly stdout: string[];
  /** The answer to a request, as it came. */
  request(id: number, method: string, params?: object): Promise<Record<string, unknown>>;
  /** Its exit code or signal. */
  readonly ended: Promise<number | string | null>;
}

/** Runs the host on a catalog, and speaks to it by lines. */
async function startRawHost(...args: string[]): Promise<RawHost> {
  const tag = createTag();
  const child = spawn(process.execPath, [script, ...args], {
    env: { ...process.env, [tagVariable]: tag },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  await once(child, 'spawn');
  const stdout: string[] = [];
  const waiting = new Map<unknown, (message: Record<string, unknown>) => void>();
  child.stdin.on('error', () => {});
  child.stderr.resume();
  createInterface({ input: child.stdout }).on('line', (line) => {
    stdout.push(line);
    const message = parse(line);
    waiting.get(message?.id)?.(message as Record<string, unknown>);
  });
  const ended = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | string | null);
  return {
    child,
    tag,
    stdout,
    ended,
    request(id, method, params = {}) {
      child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`);
      return Promise.race([
        new Promise<Record<string, unknown>>((resolve) => waiting.set(id, resolve)),
        ended.then((how) => Promise.reject(new Error(`the host ended: ${how}`))),
      ]);
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

const initialize = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: info };

/** Starts all servers that can be started. */
async function useAll(host: RawHost): Promise<void> {
  await host.request(1, 'initialize', initialize);
  host.child.stdin?.write(`${JSON.stringify({ jsonrpc: '2.0', method: 'notifications/initialized' })}\n`);
  const { result } = await host.request(2, 'tools/list');
  const names = (result as { tools: { name: string }[] }).tools.map(({ name }) => name.split('__')[0]);
  expect(new Set(names)).toEqual(new Set(['plain', 'stubborn', 'noisy']));
}

// At the same time: they wait most of the time for servers that have to be killed.
describe.concurrent('the host', () => {
  test('without a catalog it says how it is called, on stderr', async () => {
    const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'pipe'] });
    const [stdout, stderr, [code]] = await Promise.all([
      child.stdout.setEncoding('utf8').toArray(),
      child.stderr.setEncoding('utf8').toArray(),
      once(child, 'close'),
    ]);
    expect({ code, stdout: stdout.join(''), stderr: stderr.join('') }).toEqual({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining('usage:'),
    });
  });

  test('stdout holds JSON-RPC alone, whatever the servers write and however they fail', async () => {
    await using host = await startRawHost(hard);
    await useAll(host);
    for (const [id, name] of ['plain', 'stubborn', 'noisy'].entries()) {
      const { result } = await host.request(10 + id, 'tools/call', {
        name: `${name}__echo`,
        arguments: { text: name },
      });
      expect(JSON.stringify(result)).toContain(name);
    }
    for (const [id, name] of ['missing', 'rubbish', 'nobody'].entries()) {
      expect(await host.request(20 + id, 'tools/call', { name: `${name}__echo` })).toHaveProperty('error');
    }
    host.child.stdin?.write('this is no JSON-RPC\n{"jsonrpc":"2.0"}\n');
    expect(await host.request(30, 'ping')).toHaveProperty('result', {});
    host.child.stdin?.end();
    expect(await host.ended).toBe(0);
    expect(host.stdout.length).toBeGreaterThanOrEqual(9);
    expect(host.stdout.filter((line) => parse(line)?.jsonrpc !== '2.0')).toEqual([]);
  });

  test('the end of stdin ends the host, and the servers that would not end by themselves', async () => {
    await using host = await startRawHost(hard);
    await useAll(host);
    expect(livingWithTag(host.tag).length).toBeGreaterThanOrEqual(4);
    host.child.stdin?.end();
    expect(await host.ended).toBe(0);
    expect(await untilLiving(host.tag, (count) => count === 0, guardMs)).toEqual([]);
  });

  test('the end of stdin while servers start leaves none', async () => {
    await using host = await startRawHost(hard);
    await host.request(1, 'initialize', initialize);
    host.child.stdin?.end(`${JSON.stringify({ jsonrpc: '2.0', id: 2, method: 'tools/list' })}\n`);
    expect(await host.ended).toBe(0);
    expect(await untilLiving(host.tag, (count) => count === 0, guardMs)).toEqual([]);
  });

  test('SIGTERM ends the host, and all servers', async () => {
    await using host = await startRawHost(hard);
    await useAll(host);
    host.child.kill('SIGTERM');
    expect(await host.ended).toBe(0);
    expect(await untilLiving(host.tag, (count) => count === 0, guardMs)).toEqual([]);
  });

  test('a client that dies ends the host, and all servers', async () => {
    await using host = await startRawHost(hard);
    await useAll(host);
    host.child.stdout?.destroy();
    host.child.stdin?.destroy();
    expect(await host.ended).toBe(0);
    expect(await untilLiving(host.tag, (count) => count === 0, guardMs)).toEqual([]);
  });

  test('when the host is killed, the servers end, those too that ignore the end of their input', async () => {
    await using host = await startRawHost(hard);
    await useAll(host);
    expect(livingWithTag(host.tag).length).toBeGreaterThanOrEqual(4);
    host.child.kill('SIGKILL');
    expect(await host.ended).toBe('SIGKILL');
    expect(await untilLiving(host.tag, (count) => count === 0, guardMs)).toEqual([]);
  });
});
