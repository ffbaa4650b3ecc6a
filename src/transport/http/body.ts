import type { Gunzip } from 'node:zlib';
import { lazyNode } from '../../util/lazy-node.js';
import { Pieces } from '../pieces.js';
import type { BodySink, HttpAnswer } from './call.js';

/** More layers than this nobody needs but an attacker. */
const mostLayers = 2;

/** A body is longer than allowed. */
export class BodyTooLarge extends Error {
  readonly limitBytes: number;

  constructor(limitBytes: number) {
    super(`the body is larger than ${limitBytes} bytes`);
    this.name = 'BodyTooLarge';
    this.limitBytes = limitBytes;
  }
}

/** Reads a body, decompressed. Returns what ends the reading, after which the sink hears no more. */
export function readBody(answer: HttpAnswer, sink: BodySink): () => void {
  const encodings = (answer.header('content-encoding') ?? '')
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && name !== 'identity');
  if (encodings.length === 0) {
    answer.read(sink);
    return () => answer.abort();
  }
  const unknown = encodings.find((name) => !decoders.has(name));
  if (unknown !== undefined || encodings.length > mostLayers) {
    answer.abort();
    const what = unknown === undefined ? `${encodings.length} layers of compression` : 'an unknown compression';
    queueMicrotask(() => sink.fail(new Error(`the answer has ${what}`)));
    return () => {};
  }
  return decompress(answer, sink, encodings.reverse());
}

// No object: a server may name a compression like something that every object has.
const decoders: ReadonlyMap<string, () => Gunzip> = new Map([
  ['gzip', () => lazyNode.zlib.createGunzip()],
  ['x-gzip', () => lazyNode.zlib.createGunzip()],
  ['deflate', () => lazyNode.zlib.createInflate()],
  ['br', () => lazyNode.zlib.createBrotliDecompress()],
]);

function decompress(answer: HttpAnswer, sink: BodySink, encodings: readonly string[]): () => void {
  const layers = encodings.map((name) => (decoders.get(name) as () => Gunzip)());
  let over = false;
  const abort = () => {
    over = true;
    answer.abort();
    for (const layer of layers) layer.destroy();
  };
  const fail = (error: Error) => {
    if (over) return;
    abort();
    sink.fail(error);
  };
  for (const [index, layer] of layers.entries()) {
    layer.on('error', fail);
    const next = layers[index + 1];
    if (next !== undefined) layer.pipe(next);
  }
  const first = layers[0];
  const last = layers.at(-1);
  last?.on('data', (chunk: Buffer) => {
    if (!over) sink.data(chunk);
  });
  last?.on('end', () => {
    if (over) return;
    // What is compressed may end before the body does, of which nobody reads the rest.
    if (first?.writableEnded === false) abort();
    over = true;
    sink.end();
  });
  first?.on('drain', () => answer.resume());
  answer.read({
    data(chunk) {
      if (first?.write(chunk) === false) answer.pause();
    },
    end: () => first?.end(),
    fail,
  });
  return abort;
}

/** The whole of a body as text. Rejects with {@link BodyTooLarge}, or with what cut it off. */
export async function readText(answer: HttpAnswer, limitBytes: number): Promise<string> {
  const { pieces, cutOff } = await gather(answer, limitBytes);
  if (cutOff !== undefined) throw cutOff;
  return pieces.take().toString();
}

/** The beginning of a body, which may be all of it. */
export interface Beginning {
  readonly text: string;
  readonly isWhole: boolean;
}

/** The beginning of a body as text: what comes of it before it ends, breaks off, or is longer than `limitBytes`. */
export async function readBeginning(answer: HttpAnswer, limitBytes: number): Promise<Beginning> {
  const { pieces, cutOff } = await gather(answer, limitBytes);
  return { text: pieces.take().toString(), isWhole: cutOff === undefined };
}

/** What comes of a body, and what cut it off if it did not come to its end within `limitBytes`. */
function gather(answer: HttpAnswer, limitBytes: number): Promise<{ pieces: Pieces; cutOff: Error | undefined }> {
  return new Promise((resolve) => {
    const pieces = new Pieces();
    let over = false;
    const end = (cutOff?: Error) => {
      over = true;
      resolve({ pieces, cutOff });
    };
    const abort = readBody(answer, {
      data(chunk) {
        if (over) return;
        const room = limitBytes - pieces.bytes;
        pieces.add(chunk.length > room ? chunk.subarray(0, room) : chunk);
        if (chunk.length <= room) return;
        // Not inside the reader's own callback: it may still be setting up.
        queueMicrotask(() => abort());
        end(new BodyTooLarge(limitBytes));
      },
      end: () => end(),
      fail: end,
    });
  });
}
