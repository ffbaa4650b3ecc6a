import { StringDecoder } from 'node:string_decoder';
import { BodyTooLarge, readBody } from './body.js';
import type { HttpAnswer } from './call.js';
import type { CreateEventParser } from './load.js';

/** Who reads a stream of server-sent events. Nothing follows `end`. */
export interface EventSink {
  event(type: string, data: string): void;
  /** The id of the last event, from which the stream can be taken up again. */
  id(id: string): void;
  /** How long the server asks to wait before that, in milliseconds. */
  retry(ms: number): void;
  /** The stream ended: by itself, or cut off by `cause`. */
  end(cause: Error | undefined): void;
}

/** Reads server-sent events, each at most `limitBytes` long. Returns what ends the reading, after which the sink hears no more. */
export function readEvents(
  answer: HttpAnswer,
  createParser: CreateEventParser,
  limitBytes: number,
  sink: EventSink,
): () => void {
  const decoder = new StringDecoder('utf8');
  let over = false;
  let abort = () => {};
  const end = (cause: Error | undefined) => {
    if (over) return;
    over = true;
    sink.end(cause);
  };
  const tooLarge = () => {
    // Not inside the reader's own callback: it may still be setting up.
    queueMicrotask(() => abort());
    end(new BodyTooLarge(limitBytes));
  };
  const parser = createParser({
    // In characters, of which none has less than one byte, and with room for `data: ` before them.
    maxBufferSize: limitBytes + 16,
    onEvent({ event = 'message', data }) {
      if (over) return;
      if (data.length * 3 > limitBytes && Buffer.byteLength(data) > limitBytes) tooLarge();
      else sink.event(event, data);
    },
    onId: (id) => over || sink.id(id),
    onRetry: (ms) => over || sink.retry(ms),
    onError: ({ type }) => {
      if (type === 'max-buffer-size-exceeded') tooLarge();
    },
  });
  abort = readBody(answer, {
    data(chunk) {
      if (!over) parser.feed(decoder.write(chunk));
    },
    end: () => end(undefined),
    fail: end,
  });
  return () => {
    over = true;
    abort();
  };
}
