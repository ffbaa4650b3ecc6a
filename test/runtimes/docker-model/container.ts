import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Chance } from '../../gateway/model/chance.js';
import { realSleep } from '../../support/quick-time.js';
import type { Door } from '../model/door.js';
import { PlayedServer } from '../model/played-server.js';

/** What was asked for, as far as it matters here. */
export interface ContainerBody {
  readonly Image: string;
  readonly Env?: readonly string[];
  readonly Labels?: Record<string, string>;
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A container of the played engine, and the server in it. */
export class PlayedContainer extends PlayedServer {
  state: 'created' | 'running' | 'exited' = 'created';
  exitCode = 0;
  readonly events: object[] = [];
  /** Who follows its events, and who waits for its removal. */
  readonly followers = new Set<ServerResponse>();
  readonly waiters = new Set<ServerResponse>();
  /** Somebody was told of the end of the server. */
  isTold = false;
  readonly read = Promise.withResolvers<void>();
  readonly id: string;
  readonly name: string;
  readonly body: ContainerBody;
  /** For whom it was made. */
  readonly door: Door | undefined;
  readonly #chance: Chance;
  readonly #pieces: Buffer[] = [];
  #pumping: Promise<void> | undefined;
  #attached: Socket | undefined;

  constructor(id: string, name: string, body: ContainerBody, door: Door | undefined, chance: Chance) {
    super();
    this.id = id;
    this.name = name;
    this.body = body;
    this.door = door;
    this.#chance = chance;
    this.note('create');
  }

  override get isRunning(): boolean {
    return this.state === 'running';
  }

  get labels(): Record<string, string> {
    return this.body.Labels ?? {};
  }

  /** Takes over the connection of who attaches. */
  attach(socket: Socket): void {
    this.#attached = socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.take(chunk.toString()));
    const over = () => {
      if (this.#attached === socket && this.state === 'running' && !this.stubborn) this.onEnd(0);
    };
    socket.on('end', over).on('close', over);
    // Whoever is gone for good reads nothing either.
    socket.on('end', () => {
      if (this.state !== 'running') socket.end();
    });
  }

  /** Ends the connection of who is attached, whatever was on its way, cleanly or not. */
  cut(clean: boolean): void {
    this.#pieces.length = 0;
    if (clean) this.#attached?.end();
    else this.#attached?.destroy();
    this.#attached = undefined;
  }

  /** The end of its server. Resolves when all that it wrote has gone out. */
  async end(code: number): Promise<void> {
    this.state = 'exited';
    this.exitCode = code;
    await this.#pumping;
    const socket = this.#attached;
    if (socket !== undefined && !socket.destroyed && !socket.writableEnded) {
      const readAll = () => {
        this.saidWholly = socket.writableFinished && !this.isTold;
        this.read.resolve();
      };
      socket.once('end', readAll);
      const sent = new Promise<void>((resolve) => socket.once('close', resolve).end(resolve));
      // Who reads nothing is cut off in the end, as by an engine.
      await Promise.race([sent, realSleep(500)]);
      if (!socket.writableFinished) socket.destroy();
    }
    this.note('die', String(code));
  }

  note(action: string, exitCode?: string): void {
    const event = { Action: action, Actor: { Attributes: { exitCode } } };
    this.events.push(event);
    for (const follower of this.followers) follower.write(`${JSON.stringify(event)}\n`);
  }

  /** Asked for by the engine, which has it removed. */
  onEnd: (code: number) => void = () => {};

  /** In frames and in writes of any lengths. */
  protected write(text: string, isError: boolean): void {
    const bytes = Buffer.from(text);
    const most = this.#chance.one([1, 7, 64, 4_096]);
    for (let at = 0; at < bytes.length; ) {
      const piece = bytes.subarray(at, at + 1 + this.#chance.below(most));
      const header = Buffer.alloc(8);
      header[0] = isError ? 2 : 1;
      header.writeUInt32BE(piece.length, 4);
      this.#pieces.push(Buffer.concat([header, piece]));
      at += piece.length;
    }
    this.#pumping ??= this.#pump();
  }

  async #pump(): Promise<void> {
    await turn();
    // Several frames at once, or one in several pieces.
    for (let next = this.#pieces.shift(); next !== undefined; next = this.#pieces.shift()) {
      let bytes = next;
      while (this.#pieces.length > 0 && !this.#chance.oneIn(3)) {
        bytes = Buffer.concat([bytes, this.#pieces.shift() as Buffer]);
      }
      const middle = this.#chance.oneIn(2) ? this.#chance.below(bytes.length) : 0;
      this.#attached?.write(bytes.subarray(0, middle));
      if (middle > 0) await turn();
      this.#attached?.write(bytes.subarray(middle));
      if (this.#chance.oneIn(4)) await turn();
    }
    this.#pumping = undefined;
  }
}
