import { connect, type Socket } from 'node:net';

/** Who hears of the response to one request. */
export interface Reader {
  head(status: number, headers: ReadonlyMap<string, string>): void;
  data(text: string): void;
  /** @param how - `cut`: the connection ended before the response did */
  end(how: 'clean' | 'cut'): void;
}

type State = 'head' | 'size' | 'body' | 'chunk' | 'chunk end' | 'until close';

/**
 * One connection of a client of HTTP/1.1, with which it does what it likes: requests behind each other, halves of them,
 * responses that it reads late or never.
 */
export class HttpLine {
  readonly socket: Socket;
  /** Requests without the end of their response, in order. */
  readonly #readers: Reader[] = [];
  readonly #onStray: (text: string) => void;
  #rest = '';
  #state: State = 'head';
  #left = 0;
  #isOver = false;
  /** The server has said that this response is the last one, or the client is in the middle of a request. */
  isUsedUp = false;
  isPaused = false;

  /** @param onStray - bytes came that belong to no request */
  constructor(port: number, onStray: (text: string) => void) {
    this.#onStray = onStray;
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.socket.on('data', (bytes) => this.#take(bytes.toString('latin1')));
    this.socket.on('error', () => {});
    this.socket.on('close', () => this.#over());
  }

  get isOpen(): boolean {
    return !this.#isOver && !this.socket.destroyed;
  }

  /** How many responses have not come to their end. */
  get waiting(): number {
    return this.#readers.length;
  }

  /** Sends the head of a request, and as much of its body as there is. */
  begin(text: string, reader: Reader): void {
    this.#readers.push(reader);
    this.socket.write(text, 'latin1');
  }

  write(text: string): void {
    this.socket.write(text, 'latin1');
  }

  pause(): void {
    this.isPaused = true;
    this.socket.pause();
  }

  resume(): void {
    this.isPaused = false;
    this.socket.resume();
  }

  /** Breaks everything off. @param rudely - with a reset */
  cut(rudely: boolean): void {
    rudely ? this.socket.resetAndDestroy() : this.socket.destroy();
    this.#over();
  }

  #over(): void {
    if (this.#isOver) {
      return;
    }
    this.#isOver = true;
    for (const reader of this.#readers.splice(0)) {
      reader.end(this.#state === 'until close' ? 'clean' : 'cut');
      this.#state = 'head';
    }
  }

  #take(text: string): void {
    if (this.#isOver) {
      return;
    }
    this.#rest += text;
    while (this.#rest !== '' && this.#step()) {
      // One part after the other.
    }
  }

  /** @returns whether there may be more to read in what has come */
  #step(): boolean {
    const [reader] = this.#readers;
    if (reader === undefined) {
      this.#onStray(this.#rest);
      this.#rest = '';
      return false;
    }
    switch (this.#state) {
      case 'head':
        return this.#head(reader);
      case 'size': {
        const line = this.#until('\r\n');
        if (line === undefined) {
          return false;
        }
        this.#left = Number.parseInt(line, 16);
        this.#state = this.#left === 0 ? 'chunk end' : 'chunk';
        return true;
      }
      case 'chunk end': {
        if (this.#until('\r\n') === undefined) {
          return false;
        }
        if (this.#left === 0) {
          this.#end(reader);
        } else {
          this.#state = 'size';
        }
        return true;
      }
      case 'until close':
        reader.data(this.#rest);
        this.#rest = '';
        return false;
      default: {
        const part = this.#rest.slice(0, this.#left);
        this.#rest = this.#rest.slice(part.length);
        this.#left -= part.length;
        reader.data(part);
        if (this.#left === 0 && this.#state === 'body') {
          this.#end(reader);
        } else if (this.#left === 0) {
          // Only said of the last chunk that nothing is left.
          this.#left = -1;
          this.#state = 'chunk end';
        }
        return true;
      }
    }
  }

  #head(reader: Reader): boolean {
    const head = this.#until('\r\n\r\n');
    if (head === undefined) {
      return false;
    }
    const [first = '', ...lines] = head.split('\r\n');
    const headers = new Map(
      lines.map((line) => {
        const colon = line.indexOf(':');
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
      }),
    );
    const status = Number(first.split(' ')[1]);
    if (status < 200) {
      return true;
    }
    this.isUsedUp ||= headers.get('connection') === 'close';
    reader.head(status, headers);
    const length = headers.get('content-length');
    if (headers.get('transfer-encoding') === 'chunked') {
      this.#state = 'size';
    } else if (length === undefined && status !== 204 && status !== 304) {
      this.#state = 'until close';
    } else {
      this.#left = Number(length ?? 0);
      this.#state = 'body';
      this.#left === 0 && this.#end(reader);
    }
    return true;
  }

  #end(reader: Reader): void {
    this.#state = 'head';
    this.#readers.shift();
    reader.end('clean');
  }

  #until(mark: string): string | undefined {
    const at = this.#rest.indexOf(mark);
    if (at === -1) {
      return undefined;
    }
    const text = this.#rest.slice(0, at);
    this.#rest = this.#rest.slice(at + mark.length);
    return text;
  }
}
