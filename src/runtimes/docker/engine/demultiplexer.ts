import { type Duplex, Readable } from 'node:stream';
import { EngineError } from './engine.js';

const headerBytes = 8;
const stderrKind = 2;

/**
 * Takes apart what an engine sends over an attached connection: frames of a header (the stream's number, three zeros, the
 * length in four bytes) and a piece of stdout or stderr. Pieces are passed on as they come; no frame is gathered.
 *
 * When nobody reads stdout, the connection is not read either, so that the container waits in the end.
 */
export class Demultiplexer {
  readonly stdout: Readable;
  readonly #source: Duplex;
  readonly #onStderr: (chunk: Buffer) => void;
  readonly #header = Buffer.alloc(headerBytes);
  #headerFill = 0;
  /** What is left of the frame at hand. */
  #left = 0;
  #kind = 0;

  /** @param onStderr - the piece is only valid during the call */
  constructor(source: Duplex, onStderr: (chunk: Buffer) => void) {
    this.#source = source;
    this.#onStderr = onStderr;
    this.stdout = new Readable({ highWaterMark: 64 * 1024, read: () => source.resume() });
    source.on('data', (chunk: Buffer) => this.#take(chunk));
    source.pause();
  }

  /** No more will come. */
  finish(): void {
    if (!this.stdout.destroyed) {
      this.stdout.push(null);
    }
  }

  #take(chunk: Buffer): void {
    let at = 0;
    let wanted = true;
    while (at < chunk.length) {
      if (this.#left === 0) {
        at += this.#readHeader(chunk, at);
        continue;
      }
      const piece = chunk.subarray(at, at + this.#left);
      at += piece.length;
      this.#left -= piece.length;
      if (this.#kind === stderrKind) {
        this.#onStderr(piece);
      } else if (!this.stdout.destroyed && !this.stdout.push(piece)) {
        wanted = false;
      }
    }
    if (!wanted) {
      this.#source.pause();
    }
  }

  #readHeader(chunk: Buffer, at: number): number {
    const part = Math.min(headerBytes - this.#headerFill, chunk.length - at);
    chunk.copy(this.#header, this.#headerFill, at, at + part);
    this.#headerFill += part;
    if (this.#headerFill === headerBytes) {
      this.#headerFill = 0;
      this.#kind = this.#header[0] ?? 0;
      this.#left = this.#header.readUInt32BE(4);
      if (this.#header.readUInt32BE(0) >>> 24 > stderrKind || (this.#header.readUInt32BE(0) & 0xffffff) !== 0) {
        this.#source.destroy(new EngineError('the engine sent what are no frames of an attached container'));
      }
    }
    return part;
  }
}
