import { abortable } from './abort.js';

/**
 * Reads what `fetch` was answered with, to its end. Heeds the signal itself: the one that `fetch` was given no longer ends the
 * body once the request, which nobody holds by then, was collected as garbage.
 *
 * @returns undefined when there is more than `mostBytes`
 * @throws `signal.reason` once aborted; what broke the connection
 */
export async function readBody(
  body: ReadableStream<Uint8Array> | null,
  mostBytes: number,
  signal: AbortSignal,
): Promise<Buffer<ArrayBuffer> | undefined> {
  const reader = body?.getReader();
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  try {
    for (;;) {
      const read = reader && (await abortable(reader.read(), signal));
      if (read === undefined || read.done) {
        return Buffer.concat(pieces);
      }
      bytes += read.value.length;
      if (bytes > mostBytes) {
        return undefined;
      }
      pieces.push(read.value);
    }
  } finally {
    // Ends the connection, unless all of it has come.
    reader?.cancel().catch(() => {});
  }
}
