import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Chance } from '../../gateway/model/chance.js';

/** A request whose headers have come. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** A listener on loopback that can go away and come back, and sees each of its connections. */
export class Host {
  readonly #handle: (exchange: Exchange) => void;
  readonly #sockets = new Set<Socket>();
  /** Requests whose answers have not come to their end. */
  readonly unanswered = new Set<IncomingMessage>();
  #server: Server | undefined;
  #port = 0;
  #closedBytes = 0;

  constructor(handle: (exchange: Exchange) => void) {
    this.#handle = handle;
  }

  get port(): number {
    return this.#port;
  }

  get isUp(): boolean {
    return this.#server !== undefined;
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Grows with all that goes over its connections. */
  get activity(): number {
    return [...this.#sockets].reduce((sum, each) => sum + 1 + each.bytesRead + each.bytesWritten, this.#closedBytes);
  }

  async open(): Promise<void> {
    const server = createServer((request, response) => {
      this.unanswered.add(request);
      response.on('close', () => this.unanswered.delete(request));
      this.#handle({ request, response });
    });
    server.keepAliveTimeout = 0;
    server.on('connection', (socket) => {
      this.#sockets.add(socket.setNoDelay(true));
      socket.on('close', () => {
        this.#sockets.delete(socket);
        this.#closedBytes += 1 + socket.bytesRead + socket.bytesWritten;
      });
    });
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Nobody listens any more, and every connection ends. */
  async close(byReset = false): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = once(server, 'close');
    server.close();
    for (const socket of this.#sockets) byReset ? socket.resetAndDestroy() : socket.destroy();
    await closed;
  }

  /** Ends the connections that carry nothing: a request may be about to leave on one. */
  closeIdle(): void {
    this.#server?.closeIdleConnections();
  }
}

export function cut({ response }: Exchange, chance: Chance): void {
  // It may have ended meanwhile.
  chance.oneIn(2) ? response.socket?.resetAndDestroy() : response.socket?.destroy();
}

/** Cuts an answer to pieces, so that lines, characters and events are torn apart. */
export async function writeInPieces({ response }: Exchange, bytes: Buffer, chance: Chance): Promise<void> {
  const most = chance.one([1, 3, 100, bytes.length, bytes.length]);
  for (let at = 0, pieces = 0; at < bytes.length && !response.destroyed; pieces += 1) {
    // A big answer has no need of a million pieces.
    const length = pieces < 12 ? 1 + chance.below(most) : bytes.length;
    response.write(bytes.subarray(at, at + length));
    at += length;
    if (chance.oneIn(2)) await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

/** Reads the body of a request; undefined when it does not come whole, or is cut off with its first bytes. */
export function readBody(exchange: Exchange, chance: Chance, cutsEarly: boolean): Promise<string | undefined> {
  const { request } = exchange;
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      if (!cutsEarly) return;
      cut(exchange, chance);
      resolve(undefined);
    });
    request.on('end', () => resolve(Buffer.concat(chunks).toString()));
    request.on('error', () => resolve(undefined));
  });
}
