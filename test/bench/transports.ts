import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { StdioClientTransport as StdioV2 } from '@modelcontextprotocol/client/stdio';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport as StdioV1 } from '@modelcontextprotocol/sdk/client/stdio.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { CallToolRequestSchema, type JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js';
import type { RuntimeContext } from '../../src/runtime.js';
import type { Library } from './library.ts';

/** A way to a server process, and how to end it. */
export interface Way {
  readonly name: string;
  readonly transport: Transport;
  /** What stands before the server's own names of tools. */
  readonly prefix?: string;
  close(): Promise<void>;
}

export interface Command {
  readonly command: string;
  readonly args: readonly string[];
}

const mebibyte = 1024 * 1024;
// Room for the largest message of any row.
const limitMiB = 256;

/** The path of a server under test. */
export function serverFile(name: string): string {
  return fileURLToPath(new URL(`./servers/${name}`, import.meta.url));
}

export const echoServer: Command = { command: process.execPath, args: [serverFile('echo.mjs')] };

/** Our local-process runtime alone, as the gateway uses it inside. */
export async function openRuntime(library: Library, { command, args }: Command): Promise<Way> {
  const runtime = new library.LocalProcessRuntime();
  const context: RuntimeContext = {
    server: 'bench',
    env: {},
    baseDir: process.cwd(),
    instanceId: 'bench-1',
    gatewayId: 'bench',
    signal: new AbortController().signal,
    report() {},
    conceal() {},
    limits: { maxMessageBytes: limitMiB * mebibyte, stderrTailBytes: 64 * 1024 },
    clock: {
      now: () => performance.now(),
      date: () => Date.now(),
      setTimeout: (run, ms) => setTimeout(run, ms).unref(),
      clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
    },
  };
  const transport = await runtime.open({ command, args }, context);
  const close = async () => {
    await transport.close();
    await runtime.close();
  };
  return { name: 'local-process', transport, close };
}

/** What a host gets: `gateway.connect(id)`. */
export function openGateway(library: Library, command: Command): Way {
  const gateway = library.createGateway({ servers: [entry('bench', command)] });
  return { name: 'gateway.connect(id)', transport: gateway.connect('bench'), close: () => gateway.close() };
}

/** The merged peer, with one server behind it: `gateway.connect()`. */
export function openMerged(library: Library, command: Command): Way {
  const gateway = library.createGateway({ servers: [entry('bench', command)] });
  return { name: 'gateway.connect()', transport: gateway.connect(), prefix: 'bench__', close: () => gateway.close() };
}

/** A catalog entry for a server process. */
export function entry(id: string, { command, args }: Command) {
  return { id, max_message: `${limitMiB}MiB`, runtime: { type: 'local-process', command, args } } as const;
}

export function openSdkV1({ command, args }: Command): Way {
  const transport = new StdioV1({ command, args: [...args], maxBufferSize: limitMiB * mebibyte, stderr: 'ignore' });
  return { name: 'SDK v1', transport, close: () => transport.close() };
}

export function openSdkV2({ command, args }: Command): Way {
  const transport = new StdioV2({ command, args: [...args], maxBufferSize: limitMiB * mebibyte, stderr: 'ignore' });
  return { name: 'SDK v2', transport: transport as Transport, close: () => transport.close() };
}

/** What a host writes who puts something between callers and servers with the SDK alone: a Server, and a Client behind it. */
export async function openSdkRelay(command: Command): Promise<Way> {
  const info = { name: 'relay', version: '1' };
  const [transport, near] = InMemoryTransport.createLinkedPair();
  const client = new Client(info);
  await client.connect(openSdkV1(command).transport);
  const server = new Server(info, { capabilities: { tools: {} } });
  server.setRequestHandler(CallToolRequestSchema, ({ params }) => client.callTool(params) as never);
  await server.connect(near);
  const close = async () => {
    await server.close();
    await client.close();
  };
  return { name: 'SDK v1 relay', transport, close };
}

/** Nothing but a child process, `JSON.stringify` and a newline: what every transport over stdio must do at least. */
export function openPipe({ command, args }: Command): Way {
  const transport = new Pipe(command, args);
  return { name: 'raw pipe', transport, close: () => transport.close() };
}

class Pipe implements Transport {
  onmessage?: NonNullable<Transport['onmessage']>;
  readonly #command: string;
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;
  #parts: Buffer[] = [];

  constructor(command: string, args: readonly string[]) {
    this.#command = command;
    this.#args = args;
  }

  async start(): Promise<void> {
    const child = spawn(this.#command, [...this.#args], { stdio: ['pipe', 'pipe', 'ignore'] });
    child.stdout.on('data', (chunk: Buffer) => this.#read(chunk));
    this.#child = child;
    await once(child, 'spawn');
  }

  async send(message: JSONRPCMessage): Promise<void> {
    this.#child?.stdin?.write(`${JSON.stringify(message)}\n`);
  }

  async close(): Promise<void> {
    const ended = this.#child && once(this.#child, 'exit');
    this.#child?.stdin?.end();
    await ended;
  }

  #read(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      this.#parts.push(chunk.subarray(start, end));
      const line = Buffer.concat(this.#parts).toString();
      this.#parts = [];
      start = end + 1;
      this.onmessage?.(JSON.parse(line) as JSONRPCMessage);
    }
    this.#parts.push(chunk.subarray(start));
  }
}
