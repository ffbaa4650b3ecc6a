import { Readable, Writable } from 'node:stream';
import type { Clock } from '../../../src/index.js';
import type { JSONRPCMessage } from '../../../src/sdk.js';
import type { PeerExit, StreamPeer } from '../../../src/transport/stream-peer.js';
import type { ScriptedInstance } from '../../endpoint/scripted-server.js';
import type { Chance } from '../../gateway/model/chance.js';

/** Much less than a large message has, as of a pipe. */
const pipeBytes = 64 * 1024;
const killMs = 3_000;

/** What servers write to their output besides messages. */
const noise = ['', 'started', '{"jsonrpc":"2.0","id":', '[1,2', '\u0000 {}', '\r'] as const;

/**
 * A played server that speaks over pipes: its lines come in parts and in bursts, with noise between them; it stops in the
 * middle of one, does not read, and ends when it likes.
 */
export class BytePeer implements StreamPeer {
  readonly pid = null;
  readonly stderr = null;
  readonly stderrEnded = Promise.resolve();
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly exited: Promise<PeerExit>;
  /** How many reads and writes there were. */
  activity = 0;
  readonly #instance: ScriptedInstance;
  readonly #chance: Chance;
  readonly #clock: Clock;
  readonly #exit = Promise.withResolvers<PeerExit>();
  /** What has been written and is not in the pipe. */
  #output: Buffer = Buffer.alloc(0);
  #isRoom = false;
  #isPumping = false;
  /** It writes no more for now; half of what it had to say is out. */
  #isStalled = false;
  /** The server does not read: what waits for it. */
  #unread: (() => void)[] | undefined;
  #input = '';

  constructor(instance: ScriptedInstance, chance: Chance, clock: Clock) {
    this.#instance = instance;
    this.#chance = chance;
    this.#clock = clock;
    this.exited = this.#exit.promise;
    this.stdout = new Readable({
      highWaterMark: pipeBytes,
      read: () => {
        this.#isRoom = true;
        this.#pump();
      },
    });
    this.stdin = new Writable({
      highWaterMark: pipeBytes,
      decodeStrings: true,
      write: (chunk: Buffer, _encoding, done) => this.#take(chunk, done),
      final: (done) => this.#whenItReads(() => this.#inputEnded(done)),
    });
    instance.onmessage = (message) => this.#write(`${JSON.stringify(message)}\n`);
    instance.onclose = () => this.#ended();
  }

  /** Bytes that the gateway has not taken, of a server that goes on writing. */
  get unwritten(): number {
    return this.#isStalled || this.#instance.closed ? 0 : this.#output.length;
  }

  /** It has not written yet what it had to say. */
  get isHeld(): boolean {
    return this.#isStalled;
  }

  /** It does not read. */
  get isDeaf(): boolean {
    return this.#unread !== undefined;
  }

  /** Stops to write, in the middle of a line where there is one. */
  stall(): void {
    if (!this.#isStalled) {
      this.#isStalled = true;
      const half = this.#chance.below(this.#output.length);
      half > 0 && this.#isRoom && this.#push(half);
    }
  }

  /** Stops to read. */
  turnDeaf(): void {
    this.#unread ??= [];
  }

  goOn(): void {
    this.#isStalled = false;
    const unread = this.#unread;
    this.#unread = undefined;
    for (const take of unread ?? []) {
      take();
    }
    this.#pump();
  }

  stderrTail(): string {
    return '';
  }

  async stop(): Promise<void> {
    this.stdin.end();
    const timer = this.#clock.setTimeout(() => void this.#instance.close(), killMs);
    await this.exited;
    this.#clock.clearTimeout(timer);
  }

  #write(line: string): void {
    const before = this.#chance.oneIn(8) ? `${this.#chance.one(noise)}\n` : '';
    this.#output = Buffer.concat([this.#output, Buffer.from(before + line)]);
    this.#pump();
  }

  /** As much as happens to be written in a turn. */
  #pump(): void {
    if (this.#isPumping || this.#isStalled || !this.#isRoom || this.#output.length === 0) {
      return;
    }
    this.#isPumping = true;
    setImmediate(() => {
      this.#isPumping = false;
      if (!this.#isStalled && this.#output.length > 0) {
        const all = this.#output.length;
        const few = Math.ceil(all / 4) + this.#chance.below(all);
        this.#push(this.#chance.oneIn(3) ? Math.min(all, few) : all);
        this.#pump();
      }
    });
  }

  #push(length: number): void {
    this.activity += 1;
    const bytes = this.#output.subarray(0, length);
    this.#output = this.#output.subarray(length);
    this.#isRoom = this.stdout.push(bytes);
  }

  #take(chunk: Buffer, done: (error?: Error) => void): void {
    this.#whenItReads(() => {
      this.activity += 1;
      if (this.#instance.closed) {
        done(new Error('EPIPE'));
        return;
      }
      const lines = `${this.#input}${chunk.toString('latin1')}`.split('\n');
      this.#input = lines.pop() as string;
      for (const line of lines) {
        const message = JSON.parse(Buffer.from(line, 'latin1').toString()) as JSONRPCMessage;
        // A server that ends meanwhile hears of nothing.
        this.#instance.send(message).catch(() => {});
      }
      done();
    });
  }

  #whenItReads(run: () => void): void {
    if (this.#unread === undefined) {
      run();
    } else {
      this.#unread.push(run);
    }
  }

  /** As servers do that notice. */
  #inputEnded(done: () => void): void {
    done();
    void this.#instance.close();
  }

  /** Part of what it had to say comes out yet, and others may hold its output open for a while. */
  #ended(): void {
    const part = this.#chance.below(this.#output.length + 1);
    const isHeld = this.#chance.oneIn(4);
    this.#output = Buffer.concat([this.#output.subarray(0, part), Buffer.from('{"jsonrpc":"2.0","id":1,"resu')]);
    this.#push(this.#output.length);
    isHeld || this.stdout.push(null);
    this.activity += 1;
    this.#exit.resolve({ code: 1 });
  }
}
