import type { BodySink, HttpAnswer } from '../../../src/transport/http/call.js';

/** An answer that somebody else writes; what is done to it is noted. */
export class WrittenAnswer implements HttpAnswer {
  readonly status = 200;
  readonly done: string[] = [];
  sink: BodySink | undefined;
  readonly #encoding: string | undefined;

  constructor(encoding?: string) {
    this.#encoding = encoding;
  }

  header(name: string): string | undefined {
    return name === 'content-encoding' ? this.#encoding : undefined;
  }

  read(sink: BodySink): void {
    this.sink = sink;
  }

  abort(): void {
    this.done.push('abort');
  }

  pause(): void {
    this.done.push('pause');
  }

  resume(): void {
    this.done.push('resume');
  }

  /** Byte by byte in the beginning, so that every cut there is comes about. */
  write(bytes: Buffer): void {
    for (let at = 0; at < Math.min(bytes.length, 100); at += 1) this.sink?.data(bytes.subarray(at, at + 1));
    if (bytes.length > 100) this.sink?.data(bytes.subarray(100));
    this.sink?.end();
  }
}
