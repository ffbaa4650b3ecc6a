import { Pieces } from '../pieces.js';

/** Who hears of the parts of a stream of server-sent events. */
export interface EventParserSink {
  event(type: string, data: string): void;
  id(id: string): void;
  retry(ms: number): void;
}

const lineFeed = 0x0a;
const carriageReturn = 0x0d;
const colon = 0x3a;
const space = 0x20;
const byteOrderMark = Buffer.from([0xef, 0xbb, 0xbf]);
const dataName = Buffer.from('data');

/**
 * Reads server-sent events, as the HTML standard has them, from bytes. Memory is bounded in bytes, also for events of very
 * many lines; the usual event, one line of data, is decoded where it stands.
 *
 * Not `eventsource-parser`, which has no limit, and which an event of very short lines makes hold eight times its size: a
 * limit of 16 MiB around it would allow 120 MiB. What is heard of a stream is tested to be the same.
 */
export class EventParser {
  readonly #sink: EventParserSink;
  readonly #limitBytes: number;
  /** The line that has not ended yet. */
  readonly #line = new Pieces();
  /** The first line of data of the event, and the others with line feeds before them. */
  #first: string | undefined;
  #firstBytes = 0;
  readonly #others = new Pieces();
  #type = '';
  #id: string | undefined;
  #begun = false;
  #skipLineFeed = false;
  #stopped = false;

  /** @param limitBytes - of the lines of one event together */
  constructor(limitBytes: number, sink: EventParserSink) {
    this.#limitBytes = limitBytes;
    this.#sink = sink;
  }

  /**
   * Takes in bytes. False once an event is larger than the limit, whose id is told where it came first: the parser is of no
   * further use then.
   */
  feed(chunk: Buffer): boolean {
    let at = 0;
    let nextReturn = chunk.indexOf(carriageReturn);
    if (this.#skipLineFeed && chunk.length > 0) {
      this.#skipLineFeed = false;
      if (chunk[0] === lineFeed) at = 1;
    }
    while (at < chunk.length && !this.#stopped) {
      if (nextReturn !== -1 && nextReturn < at) nextReturn = chunk.indexOf(carriageReturn, at);
      // Only up to the next carriage return: otherwise a text full of those would be searched again for each.
      const before = nextReturn === -1 ? chunk : chunk.subarray(0, nextReturn);
      const feed = before.indexOf(lineFeed, at);
      const end = feed === -1 ? nextReturn : feed;
      if (this.#line.bytes + this.#dataBytes + (end === -1 ? chunk.length : end) - at > this.#limitBytes) {
        if (this.#id !== undefined) this.#sink.id(this.#id);
        this.stop();
        return false;
      }
      if (end === -1) {
        this.#line.add(at === 0 ? chunk : chunk.subarray(at));
        return true;
      }
      if (this.#line.bytes === 0) {
        this.#take(chunk, at, end);
      } else {
        this.#line.add(chunk.subarray(at, end));
        const line = this.#line.take();
        this.#take(line, 0, line.length);
      }
      at = end + 1;
      if (chunk[end] === carriageReturn) {
        if (at === chunk.length) this.#skipLineFeed = true;
        else if (chunk[at] === lineFeed) at += 1;
      }
    }
    return true;
  }

  /** Forgets everything; nothing more is told. */
  stop(): void {
    this.#stopped = true;
    this.#line.clear();
    this.#clear();
  }

  get #dataBytes(): number {
    return this.#firstBytes + this.#others.bytes;
  }

  #take(bytes: Buffer, from: number, end: number): void {
    let start = from;
    if (!this.#begun) {
      this.#begun = true;
      if (bytes.subarray(start, end).indexOf(byteOrderMark) === 0) start += byteOrderMark.length;
    }
    if (start === end) {
      this.#dispatch();
      return;
    }
    if (bytes[start] === colon) return;
    const isData =
      end - start >= 4 &&
      bytes.compare(dataName, 0, 4, start, start + 4) === 0 &&
      (end - start === 4 || bytes[start + 4] === colon);
    if (isData) {
      const value = start + (end - start === 4 ? 4 : bytes[start + 5] === space && end - start > 5 ? 6 : 5);
      this.#addData(bytes, value, end);
      return;
    }
    const line = bytes.toString('utf8', start, end);
    const nameEnd = line.indexOf(':');
    const value = nameEnd === -1 ? '' : line.slice(line[nameEnd + 1] === ' ' ? nameEnd + 2 : nameEnd + 1);
    this.#field(nameEnd === -1 ? line : line.slice(0, nameEnd), value);
  }

  #addData(bytes: Buffer, start: number, end: number): void {
    if (this.#first === undefined) {
      this.#first = bytes.toString('utf8', start, end);
      this.#firstBytes = end - start;
    } else {
      this.#others.add(lineEnd);
      this.#others.add(bytes.subarray(start, end));
    }
  }

  #field(name: string, value: string): void {
    if (name === 'event') this.#type = value;
    else if (name === 'id' && !value.includes('\0')) this.#id = value;
    else if (name === 'retry' && /^\d{1,15}$/.test(value)) this.#sink.retry(Number(value));
  }

  #dispatch(): void {
    const id = this.#id;
    const type = this.#type === '' ? 'message' : this.#type;
    const first = this.#first;
    const data = this.#others.bytes === 0 ? first : first + this.#others.take().toString('utf8');
    this.#clear();
    if (id !== undefined) this.#sink.id(id);
    if (data !== undefined && !this.#stopped) this.#sink.event(type, data);
  }

  #clear(): void {
    this.#first = undefined;
    this.#firstBytes = 0;
    this.#others.clear();
    this.#type = '';
    this.#id = undefined;
  }
}

const lineEnd = Buffer.from('\n');
