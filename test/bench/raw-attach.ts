import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js';
import type { Way } from './transports.ts';

const headerBytes = 8;

/** Nothing but the engine's socket, a header to skip, and JSON: what every way through the engine's API must do at least. */
export function rawAttach(flags: readonly string[]): Way {
  const transport = new RawAttach(flags);
  return { name: 'raw attach', transport, close: () => transport.close() };
}

class RawAttach implements Transport {
  onmessage?: NonNullable<Transport['onmessage']>;
  readonly #flags: readonly string[];
  #socket: Duplex | undefined;
  #frames: Buffer = Buffer.alloc(0);
  #line: Buffer[] = [];

  /** @param flags - of `docker create` */
  constructor(flags: readonly string[]) {
    this.#flags = flags;
  }

  async start(): Promise<void> {
    const id = execFileSync('docker', ['create', ...this.#flags], { encoding: 'utf8' }).trim();
    const asked = request({
      socketPath: '/var/run/docker.sock',
      method: 'POST',
      path: `/v1.41/containers/${id}/attach?stream=1&stdin=1&stdout=1&stderr=1`,
      headers: { host: 'docker', connection: 'Upgrade', upgrade: 'tcp', 'content-length': 0 },
    }).end();
    const [, socket] = (await once(asked, 'upgrade')) as [unknown, Duplex];
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    this.#socket = socket;
    execFileSync('docker', ['start', id]);
  }

  async send(message: JSONRPCMessage): Promise<void> {
    this.#socket?.write(`${JSON.stringify(message)}\n`);
  }

  async close(): Promise<void> {
    const ended = this.#socket && once(this.#socket, 'close');
    this.#socket?.end();
    await ended;
  }

  #read(chunk: Buffer): void {
    const frames = this.#frames.length === 0 ? chunk : Buffer.concat([this.#frames, chunk]);
    let at = 0;
    while (frames.length - at >= headerBytes) {
      const end = at + headerBytes + frames.readUInt32BE(at + 4);
      if (end > frames.length) break;
      this.#take(frames.subarray(at + headerBytes, end));
      at = end;
    }
    this.#frames = frames.subarray(at);
  }

  #take(piece: Buffer): void {
    let start = 0;
    for (let end = piece.indexOf(10); end !== -1; end = piece.indexOf(10, start)) {
      const line = Buffer.concat([...this.#line, piece.subarray(start, end)]).toString();
      this.#line = [];
      start = end + 1;
      this.onmessage?.(JSON.parse(line) as JSONRPCMessage);
    }
    this.#line.push(piece.subarray(start));
  }
}
