import type { WebSocket } from 'ws';
import type { Pod } from '../../../src/runtimes/k8s-job/objects.js';
import type { Chance } from '../../gateway/model/chance.js';
import { PlayedServer } from '../model/played-server.js';

const stdout = 1;
const stderr = 2;
const status = 3;
/** As a channel's number in v5: the next byte names a channel that is closed. */
const closeSignal = 255;

/** A pod of the played cluster, and the server in its one container. */
export class PlayedPod extends PlayedServer {
  /** As the API shows it. */
  shown: Pod;
  /** All that the container wrote. */
  log = '';
  isRunning = false;
  /** Called at the end of the server's input. */
  onInputEnd: () => void = () => {};
  readonly #chance: Chance;
  #attached: WebSocket | undefined;

  constructor(shown: Pod, chance: Chance) {
    super();
    this.shown = shown;
    this.#chance = chance;
  }

  attach(socket: WebSocket): void {
    this.#attached = socket;
    const over = () => {
      if (this.#attached === socket && this.isRunning && !this.stubborn) this.onInputEnd();
    };
    socket.on('error', () => {}).on('close', over);
    socket.on('message', (data: Buffer) => {
      if (data[0] === closeSignal) over();
      else if (data[0] === 0) this.take(data.subarray(1).toString());
    });
  }

  /** Ends the connection of who is attached, with a code as of a proxy that goes away, or without a word. */
  cut(clean: boolean): void {
    if (clean) this.#attached?.close(1001, 'going away');
    else this.#attached?.terminate();
    this.#attached = undefined;
  }

  /** The end of the server. Resolves when all that it wrote has been read, if it is read. */
  async end(): Promise<void> {
    this.isRunning = false;
    const socket = this.#attached;
    if (socket === undefined || socket.readyState !== socket.OPEN) return;
    socket.send(Buffer.concat([Buffer.of(status), Buffer.from('{"status":"Success"}')]));
    const closed = new Promise<number>((resolve) => socket.once('close', resolve));
    socket.close(1000);
    // Who answers to the end has read what came before it.
    this.saidWholly = (await closed) === 1000;
  }

  protected write(text: string, isError: boolean): void {
    this.log += text;
    const bytes = Buffer.from(text);
    const most = this.#chance.one([1, 7, 64, 4_096, 4_096]);
    for (let at = 0; at < bytes.length; ) {
      const piece = bytes.subarray(at, at + 1 + this.#chance.below(most));
      this.#attached?.send(Buffer.concat([Buffer.of(isError ? stderr : stdout), piece]), () => {});
      at += piece.length;
    }
  }
}
