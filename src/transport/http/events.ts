import { isHeaderValue } from '../../util/header-value.js';
import { setImmediate } from '../../util/immediate.js';
import { BodyTooLarge, readBody } from './body.js';
import type { HttpAnswer } from './call.js';
import { EventParser } from './event-parser.js';

/** Who reads a stream of server-sent events. Nothing follows `end`. */
export interface EventSink {
  event(type: string, data: string): void;
  /** The id of the last event, from which the stream can be taken up again; empty when it cannot. */
  id(id: string): void;
  /** How long the server asks to wait before that, in milliseconds. */
  retry(ms: number): void;
  /** The stream ended: by itself, or cut off by `cause`. */
  end(cause: Error | undefined): void;
}

/** Reads server-sent events, each at most `limitBytes` long. Returns what ends the reading, after which the sink hears no more. */
export function readEvents(answer: HttpAnswer, limitBytes: number, sink: EventSink): () => void {
  let over = false;
  let abort = () => {};
  const end = (cause: Error | undefined) => {
    if (over) return;
    over = true;
    parser.stop();
    sink.end(cause);
  };
  const tooLarge = () => {
    // Not inside the reader's own callback: it may still be setting up.
    queueMicrotask(() => abort());
    end(new BodyTooLarge(limitBytes));
  };
  // With room for the names of fields.
  const parser = new EventParser(limitBytes + 16, {
    event(type, data) {
      if (over) return;
      if (data.length * 3 > limitBytes && Buffer.byteLength(data) > limitBytes) tooLarge();
      else sink.event(type, data);
    },
    id: (id) => over || sink.id(toHeader(id)),
    retry: (ms) => over || sink.retry(ms),
  });
  const slices = new Slices(answer);
  abort = readBody(answer, {
    data(chunk) {
      if (over) return;
      slices.begin(chunk.length);
      if (parser.feed(chunk)) slices.end();
      else tooLarge();
    },
    end: () => end(undefined),
    fail: end,
  });
  return () => {
    over = true;
    abort();
  };
}

// How long events are read in one go before everybody else in the process gets a turn.
const sliceMs = 8;
// Smaller chunks hold too little to be worth a look at the time, unless there are many.
const longChunkBytes = 16 * 1024;
const manyChunks = 256;

/** Stops the reading for a turn of the event loop when it takes long: Node reads up to 32 chunks of a connection in one. */
class Slices {
  readonly #answer: HttpAnswer;
  #over: number | undefined;
  #isPaused = false;
  #chunks = 0;

  constructor(answer: HttpAnswer) {
    this.#answer = answer;
  }

  begin(bytes: number): void {
    this.#chunks += 1;
    if ((bytes < longChunkBytes && this.#chunks % manyChunks > 0) || this.#over !== undefined) return;
    this.#over = performance.now() + sliceMs;
    // One slice for all chunks of this turn.
    setImmediate(() => {
      this.#over = undefined;
      if (this.#isPaused) {
        this.#isPaused = false;
        this.#answer.resume();
      }
    });
  }

  end(): void {
    if (!this.#isPaused && this.#over !== undefined && performance.now() > this.#over) {
      this.#isPaused = true;
      this.#answer.pause();
    }
  }
}

const longestId = 4 * 1024;

/** An id as the header `last-event-id` holds it: in UTF-8. Empty when no header can hold it. */
function toHeader(id: string): string {
  const header = Buffer.from(id).toString('latin1');
  return header.length <= longestId && isHeaderValue(header) ? header : '';
}
