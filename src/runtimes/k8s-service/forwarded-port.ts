import { Duplex, type Readable, type Writable } from 'node:stream';
import { DialError } from '../../transport/http/dial.js';
import type { ChannelSocket, Cluster } from '../shared/kubernetes/cluster.js';
import { pods } from '../shared/kubernetes/resources.js';

/** Which port of which pod. */
export interface PodPort {
  readonly namespace: string;
  readonly pod: string;
  readonly port: number;
}

const dataChannel = 0;
const errorChannel = 1;
/** Each channel begins with the number of the port, in two bytes. */
const prefixBytes = 2;
const mostErrorBytes = 4096;
/** Larger ones are not worth a copy. */
const joinedBytes = 64 * 1024;

/**
 * Opens a connection to a port of a pod, through the API server: the byte stream that a TCP connection would be.
 *
 * @throws `KubernetesError`; `signal.reason` once aborted
 */
export async function forwardPort(cluster: Cluster, target: PodPort, signal: AbortSignal): Promise<Duplex> {
  const { namespace, pod, port } = target;
  const socket = await cluster.connect(pods({ namespace, name: pod, subresource: 'portforward' }), {
    // Newer API servers also take SPDY within a WebSocket, but this one all of them hand on to the kubelet.
    protocols: ['v4.channel.k8s.io'],
    incoming: [dataChannel, errorChannel],
    query: { ports: String(port) },
    signal,
  });
  return new ForwardedPort(socket, target);
}

/** A connection to a port, on the two channels of a socket that was opened for it. */
class ForwardedPort extends Duplex {
  readonly #socket: ChannelSocket;
  readonly #target: PodPort;
  readonly #incoming: Readable;
  readonly #outgoing: Writable;
  /** What is still to come of the port's number. */
  #prefix = prefixBytes;
  #heard = false;

  constructor(socket: ChannelSocket, target: PodPort) {
    super();
    this.#socket = socket;
    this.#target = target;
    this.#incoming = socket.readable(dataChannel);
    this.#outgoing = socket.writable(dataChannel);
    this.#incoming.on('data', (chunk: Buffer) => this.#receive(chunk));
    const said = readError(socket.readable(errorChannel));
    const ended = new Promise<void>((resolve) => this.#incoming.once('end', resolve).once('close', resolve));
    void Promise.all([said, socket.closed, ended]).then(([error, lost]) => {
      if (error !== '') this.destroy(this.#failure(error));
      else if (lost !== undefined) this.destroy(new DialError(lost.message, { cause: lost }));
      else this.push(null);
    });
  }

  override _read(): void {
    this.#incoming.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#outgoing.write(chunk, done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    const pieces = chunks.map(({ chunk }) => chunk);
    const bytes = pieces.reduce((sum, { length }) => sum + length, 0);
    // The head of a request and its body: one message, instead of two that are handed on apart.
    const parts = bytes <= joinedBytes ? [Buffer.concat(pieces, bytes)] : pieces;
    const last = parts.pop() as Buffer;
    for (const part of parts) this.#outgoing.write(part);
    this.#outgoing.write(last, done);
  }

  // The protocol has no way to close one direction: whoever has said all still wants to hear the answer.
  override _final(done: () => void): void {
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    void this.#socket.close().then(() => done(error));
  }

  #receive(chunk: Buffer): void {
    const skipped = Math.min(this.#prefix, chunk.length);
    this.#prefix -= skipped;
    if (skipped === chunk.length || this.destroyed) return;
    this.#heard = true;
    if (!this.push(chunk.subarray(skipped))) this.#incoming.pause();
  }

  /** The kubelet says in words what failed. */
  #failure(said: string): Error {
    const { namespace, pod, port } = this.#target;
    const place = `port ${port} of pod "${pod}" in namespace "${namespace}"`;
    const refused = !this.#heard && /connection refused|failed to connect|no route to host/i.test(said);
    const text = refused ? `nobody listens on ${place}` : `the connection to ${place} failed`;
    const error = new Error(`${text}: ${said}`);
    // Nothing of a request can have come to a server that was never there.
    return refused ? Object.assign(error, { delivered: false }) : error;
  }
}

/** What comes on the error channel after the port's number. */
async function readError(channel: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of channel as AsyncIterable<Buffer>) {
      if (bytes < mostErrorBytes) chunks.push(chunk);
      bytes += chunk.length;
    }
  } catch {
    // What has come so far will do.
  }
  return Buffer.concat(chunks).subarray(prefixBytes).toString().replaceAll(/\s+/g, ' ').trim().slice(0, 500);
}
