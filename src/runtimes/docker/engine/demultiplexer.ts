import { type Duplex, Readable } from 'node:stream';
import type { OutputListener } from '../../../transport/stream-peer.js';
import { EngineError } from './engine.js';

const headerBytes = 8;
const stderrKind = 2;

/**
 * Takes apart what an engine sends over an attached connection: frames of a header (the stream's number, three zeros, the
 * length in four bytes) and a piece of stdout or stderr. Pieces are passed on as they come; no frame is gathered.
 *
 * While stdout is paused, the connection is not read, so that the container waits in the end. It is paused at first.
 */
export class Demultiplexer {
  /** Flows, pauses and ends as the container's does. Its bytes go to the listener of {@link onOutput} alone. */
  readonly stdout: Readable;
  readonly #source: Duplex;
  readonly #onStderr: (piece: Buffer) => void;
  readonly #header = Buffer.alloc(headerBytes);
  #onStdout: OutputListener = () => {};
  #headerFill = 0;
  /** What is left of the frame at hand. */
  #left = 0;
  #kind = 0;
  #broken = false;

  /** @param onStderr - the piece is only valid during the call */
  constructor(source: Duplex, onStderr: (piece: Buffer) => void) {
    this.#source = source;
    this.#onStderr = onStderr;
    this.stdout = new Output(source);
    source.on('data', (chunk: Buffer) => this.#take(chunk));
    source.pause();
  }

  /**
   * Who gets stdout, straight from the connection: a stream between the two would cost a good part of what else is done
   * with a short message. One chunk may hold several pieces, so that some may still come after a pause.
   */
  readonly onOutput = (listener: OutputListener): void => {
    this.#onStdout = listener;
  };

  /** No more will come. */
  finish(): void {
    if (!this.stdout.destroyed) {
      this.stdout.push(null);
    }
  }

  #take(chunk: Buffer): void {
    let at = 0;
    // A stream that is destroyed may still hand on what it had taken in.
    while (at < chunk.length && !this.#broken) {
      if (this.#left === 0) {
        at += this.#readHeader(chunk, at);
        continue;
      }
      const piece = chunk.subarray(at, at + this.#left);
      at += piece.length;
      this.#left -= piece.length;
      if (this.#kind === stderrKind) {
        this.#onStderr(piece);
      } else if (!this.stdout.destroyed) {
        this.#onStdout(piece, piece.length, false);
      }
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
      if (this.#kind > stderrKind || (this.#header.readUInt32BE(0) & 0xffffff) !== 0) {
        this.#broken = true;
        this.#source.destroy(new EngineError('the engine sent what are no frames of an attached container'));
      }
    }
    return part;
  }
}

/** The course of a stream whose bytes go elsewhere. */
class Output extends Readable {
  readonly #source: Duplex;

  constructor(source: Duplex) {
    super();
    this.#source = source;
  }

  override _read(): void {}

  override resume(): this {
    this.#source.resume();
    return super.resume();
  }

  override pause(): this {
    this.#source.pause();
    return super.pause();
  }
}
