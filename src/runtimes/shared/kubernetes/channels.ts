import type { ClientRequest, IncomingMessage } from 'node:http';
import { Readable, Writable } from 'node:stream';
import type WebSocket from 'ws';
import type { Clock } from '../../../options.js';
import type { ChannelSocket, ConnectOptions } from './cluster.js';
import type { Connection } from './connection.js';
import { isFailure, KubernetesError, networkError, refusalError } from './kubernetes-error.js';
import { busyMsOf, inTime, maxBusyRetries, mostStale, pause, StaleConnection } from './request.js';
import { pathOf, type ResourceRef, showResource } from './resources.js';

/** Often enough for balancers that cut what is idle for a minute. */
const pingMs = 10_000;
const lostMs = 35_000;
const closeTimeoutMs = 2_000;
const maxFrameBytes = 64 * 1024 * 1024;
/** Larger pieces would be held whole in the memory of each hop. */
const pieceBytes = 64 * 1024;
const bufferBytes = 256 * 1024;
/** As a channel's number in v5: the next byte names a channel that is closed. */
const closeSignal = 255;

/** Opens a WebSocket on a subresource. */
export function openChannels(
  connection: Connection,
  ref: ResourceRef,
  options: ConnectOptions,
  clock: Clock,
): Promise<ChannelSocket> {
  return inTime(connection, `get ${showResource(ref)}`, options.signal, clock, async (signal) => {
    let renewed = false;
    let busy = 0;
    for (let stale = 0; ; ) {
      try {
        const socket = await handshake(connection, ref, options, signal);
        return new Channels(socket, connection.server, options.incoming, clock);
      } catch (error) {
        if (error instanceof StaleConnection) {
          stale += 1;
          if (stale <= mostStale) continue;
          throw networkError(error.cause, connection.server);
        }
        if (error instanceof BusyServer) {
          busy += 1;
          if (busy > maxBusyRetries) throw error.refusal;
          await pause(error.ms, signal, clock);
          continue;
        }
        // Without a status it was not the API server that refused: there was nothing to show to it.
        if (renewed || !isFailure(error, 'unauthorized') || error.status === undefined) throw error;
        renewed = true;
        await connection.reload(signal);
      }
    }
  });
}

/** The server is busy, and has said when to come back. */
class BusyServer extends Error {
  constructor(
    readonly ms: number,
    readonly refusal: KubernetesError,
  ) {
    super();
  }
}

async function handshake(
  connection: Connection,
  ref: ResourceRef,
  { query, protocols }: ConnectOptions,
  signal: AbortSignal,
): Promise<WebSocket> {
  // Loaded here: most catalogs need no cluster.
  const [settings, { WebSocket: Socket }] = await Promise.all([connection.settings(signal), import('ws')]);
  signal.throwIfAborted();
  const url = connection.url(pathOf(ref), query);
  url.protocol = url.protocol === 'http:' ? 'ws:' : 'wss:';
  let request: ClientRequest | undefined;
  const socket = new Socket(url, [...protocols], {
    ...settings,
    finishRequest(made: ClientRequest) {
      request = made;
      made.end();
    },
    perMessageDeflate: false,
    skipUTF8Validation: true,
    maxPayload: maxFrameBytes,
    // Masks keep what scripts of strangers write from passing for something else in a proxy; none can look into TLS.
    ...(url.protocol === 'wss:' && { generateMask: (mask: Buffer) => void mask.fill(0) }),
  } as object as WebSocket.ClientOptions);
  return new Promise((resolve, reject) => {
    const abort = () => {
      reject(signal.reason);
      socket.terminate();
    };
    signal.addEventListener('abort', abort, { once: true });
    const done = () => signal.removeEventListener('abort', abort);
    // Stays for good: an error without a listener would end the host.
    socket.on('error', (cause) => {
      done();
      const isStale = request?.reusedSocket === true && !signal.aborted;
      reject(isStale ? new StaleConnection('', { cause }) : networkError(cause, connection.server));
    });
    socket.once('unexpected-response', (_request, answer: IncomingMessage) => {
      void readSome(answer).then((body) => {
        done();
        const refusal = refusalError(answer.statusCode ?? 0, body, connection.server, 'get', ref);
        const busyMs = busyMsOf(answer);
        reject(busyMs === undefined ? refusal : new BusyServer(busyMs, refusal));
        socket.terminate();
      });
    });
    socket.once('open', () => {
      done();
      // What comes from now on waits until somebody listens.
      socket.pause();
      resolve(socket);
    });
  });
}

async function readSome(answer: IncomingMessage): Promise<string> {
  let text = '';
  try {
    for await (const chunk of answer) {
      text += String(chunk);
      if (text.length > 16 * 1024) break;
    }
  } catch {
    // The status alone will do.
  }
  return text;
}

class Channels implements ChannelSocket {
  readonly protocol: string;
  readonly closed: Promise<KubernetesError | undefined>;
  readonly #socket: WebSocket;
  readonly #clock: Clock;
  readonly #incoming: ReadonlyMap<number, Readable>;
  /** Channels that nobody reads at the moment. */
  readonly #full = new Set<number>();
  /** Channels that the other side has closed, though nobody may have read them to their end. */
  readonly #ended = new Set<number>();
  #lost: KubernetesError | undefined;
  #heardAt: number;
  #closing: Promise<void> | undefined;

  constructor(socket: WebSocket, server: string, incoming: readonly number[], clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    this.protocol = socket.protocol;
    this.#heardAt = clock.now();
    this.#incoming = new Map(incoming.map((channel) => [channel, this.#makeReadable(channel)]));
    const heard = () => {
      this.#heardAt = clock.now();
    };
    socket.on('pong', heard).on('ping', heard);
    socket.on('message', (data) => {
      heard();
      this.#receive(data as Buffer);
    });
    socket.on('error', (cause) => {
      this.#lost ??= networkError(cause, server);
    });
    const pings = this.#keepAsking(server);
    this.closed = new Promise((resolve) => {
      socket.once('close', (code, reason) => {
        pings.stop();
        if (code === 1006 && this.#closing === undefined) {
          this.#lost ??= new KubernetesError('unreachable', `the connection to ${server} was cut`);
        } else if (code !== 1000 && code !== 1005 && this.#closing === undefined) {
          const said = reason.toString().slice(0, 300);
          this.#lost ??= new KubernetesError(
            'refused',
            `${server} closed the connection (${code})${said && `: ${said}`}`,
          );
        }
        for (const readable of this.#incoming.values()) readable.push(null);
        resolve(this.#lost);
      });
    });
    socket.resume();
  }

  readable(channel: number): Readable {
    const readable = this.#incoming.get(channel);
    if (readable === undefined) throw new TypeError(`channel ${channel} was not named when the connection was opened`);
    return readable;
  }

  writable(channel: number): Writable {
    const made = new Writable({
      highWaterMark: bufferBytes,
      write: (chunk: Buffer, _encoding, done) => this.#send(channel, chunk, done),
      final: (done) => {
        if (this.protocol.startsWith('v5.')) this.#socket.send(Buffer.of(closeSignal, channel), () => done());
        else done();
      },
    });
    // A connection that is gone is told by `closed`; whoever writes gets it by the callback.
    made.on('error', () => {});
    void this.closed.then((lost) => made.destroy(lost));
    return made;
  }

  close(): Promise<void> {
    this.#closing ??= this.#shutDown();
    return this.#closing;
  }

  async #shutDown(): Promise<void> {
    const timer = this.#clock.setTimeout(() => this.#socket.terminate(), closeTimeoutMs);
    // What nobody reads any more must not hold up the other side's answer.
    for (const readable of this.#incoming.values()) readable.resume();
    this.#socket.close(1000);
    await this.closed;
    this.#clock.clearTimeout(timer);
  }

  #makeReadable(channel: number): Readable {
    return new Readable({
      highWaterMark: bufferBytes,
      read: () => this.#goOn(channel),
    });
  }

  /** A channel holds up the connection no more. */
  #goOn(channel: number): void {
    if (this.#full.delete(channel) && this.#full.size === 0) {
      this.#heardAt = this.#clock.now();
      this.#socket.resume();
    }
  }

  #receive(data: Buffer): void {
    const channel = data[0];
    if (channel === undefined) return;
    if (channel === closeSignal) {
      const ended = data[1] ?? -1;
      this.#ended.add(ended);
      this.#incoming.get(ended)?.push(null);
      // It asks for nothing any more.
      this.#goOn(ended);
      return;
    }
    const readable = this.#incoming.get(channel);
    if (data.length === 1 || readable === undefined || readable.destroyed || this.#ended.has(channel)) return;
    if (!readable.push(data.subarray(1))) {
      this.#full.add(channel);
      this.#socket.pause();
    }
  }

  #send(channel: number, chunk: Buffer, done: (error?: Error | null) => void): void {
    for (let at = 0; at < chunk.length; at += pieceBytes) {
      const piece = chunk.subarray(at, at + pieceBytes);
      const frame = Buffer.allocUnsafe(piece.length + 1);
      frame[0] = channel;
      frame.set(piece, 1);
      const last = at + pieceBytes >= chunk.length;
      this.#socket.send(frame, { binary: true }, (error) => {
        if (last) done(error);
      });
    }
  }

  /** Pings the other side, and gives it up when it stays silent. */
  #keepAsking(server: string): { stop(): void } {
    let askedAt = this.#clock.now();
    let timer: unknown;
    const ask = () => {
      const now = this.#clock.now();
      // While this process was held up, or did not want to read, nothing could be heard.
      if (now - askedAt > 2 * pingMs || this.#socket.isPaused) this.#heardAt = now;
      askedAt = now;
      if (now - this.#heardAt > lostMs) {
        this.#lost ??= new KubernetesError('unreachable', `${server} has not answered pings for ${lostMs / 1000} s`);
        this.#socket.terminate();
        return;
      }
      this.#socket.ping(undefined, true, () => {});
      timer = this.#clock.setTimeout(ask, pingMs);
    };
    timer = this.#clock.setTimeout(ask, pingMs);
    return { stop: () => this.#clock.clearTimeout(timer) };
  }
}
