import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { OutputListener } from '../../transport/stream-peer.js';

// As much as a pipe between two processes holds, or about.
const bufferBytes = 128 * 1024;
let shared: Buffer | undefined;

/** What Node keeps behind a socket. None of it is documented, so all of it is looked for before it is used. */
interface Handle {
  readonly useUserBuffer?: unknown;
}

/** A child's stdout, and a way to read it into one buffer over and over. */
export interface Output {
  readonly stream: Readable;
  /** Takes the bytes instead of `data` events, once the stream flows. They are borrowed. */
  onBytes(listener: OutputListener): void;
}

/**
 * Reads a child's stdout as the `onread` option of `net.Socket` does: without a new buffer for each read, which for short
 * messages costs as much as all else that is done with them. A child's own socket has no such option, so another one is
 * put around its handle.
 *
 * @returns undefined where that cannot be done: then `stdout` is as it was
 */
export function borrowOutput(stdout: Readable): Output | undefined {
  const own = stdout as Readable & { _handle?: Handle | null };
  const handle = own._handle;
  if (!(stdout instanceof Socket) || stdout.bytesRead > 0 || typeof handle?.useUserBuffer !== 'function') {
    return undefined;
  }
  let listener: OutputListener = () => {};
  const buffer = takeBuffer();
  const onread = {
    buffer,
    callback(length: number) {
      listener(buffer, length, true);
      return true;
    },
  };
  const stream = new Socket({ handle: handle as never, readable: true, writable: false, onread }).pause();
  // The child's own is of no use any more; without this its end would close the handle.
  own._handle = null;
  stdout.destroy();
  return {
    stream,
    onBytes(take) {
      listener = take;
    },
  };
}

/** Nobody keeps what is read, and one read ends before the next begins; but Windows may fill a buffer while others read. */
function takeBuffer(): Buffer {
  if (process.platform === 'win32') {
    return Buffer.allocUnsafeSlow(bufferBytes);
  }
  shared ??= Buffer.allocUnsafeSlow(bufferBytes);
  return shared;
}
