import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { Waiters } from './guard.js';

/** How long to wait for a first sign of a server that perhaps cannot reach this machine's loopback, as in a container. */
const firstSignMs = 2000;

/**
 * Where reference servers report that they live: each holds a connection for as long as it runs. So the suite sees from
 * outside of the runtime whether a server is there. Servers that cannot reach it are just not seen.
 */
export class Beacon implements AsyncDisposable {
  readonly #server = createServer((socket) => this.#add(socket));
  readonly #lights: Light[] = [];
  readonly #waiters: Waiters;

  readonly #lasting: boolean;

  private constructor(guardMs: number, lasting: boolean) {
    this.#waiters = new Waiters(guardMs);
    this.#lasting = lasting;
  }

  /** @param lasting - servers that are left alone go in their own time */
  static async listen(guardMs: number, lasting = false): Promise<Beacon> {
    const beacon = new Beacon(guardMs, lasting);
    beacon.#server.listen(0, '127.0.0.1');
    await once(beacon.#server, 'listening');
    return beacon;
  }

  /** The argument that sends a reference server here, under a name. */
  argument(name = 'server'): string {
    return `--beacon=${(this.#server.address() as AddressInfo).port}:${name}`;
  }

  /** How many servers have been seen so far. */
  get seen(): number {
    return this.#lights.length;
  }

  /** Settles when a server of that name has been seen; false when servers perhaps cannot be seen at all. */
  async lit(name = 'server'): Promise<boolean> {
    return this.#sign(() => this.#lights.some((light) => light.text.includes(`hello ${name}\n`)));
  }

  /** Settles when a server has sent everything it sends at its start; false as with {@link lit}. */
  async sent(): Promise<boolean> {
    return this.#sign(() => this.#lights.some((light) => light.text.includes('sent\n')));
  }

  /** Asks every server that was seen whether it still lives. Only a dead one leaves the question unanswered. */
  async assertDark(when: string): Promise<void> {
    if (this.#lasting) {
      await this.#waiters.until(`the end of every server ${when}`, () => this.#lights.every(({ gone }) => gone));
      return;
    }
    const alive = await Promise.all(this.#lights.map((light) => this.#isAlive(light)));
    assert.equal(alive.filter(Boolean).length, 0, `no server is left ${when}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const light of this.#lights) light.socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async #sign(condition: () => boolean): Promise<boolean> {
    // Once one has been seen, all can be.
    const ms = this.#lights.length > 0 ? undefined : firstSignMs;
    const seen = this.#waiters.until('a sign of the server', condition, ms);
    if (ms === undefined) return seen;
    return seen.catch(() => condition());
  }

  async #isAlive(light: Light): Promise<boolean> {
    const before = light.text.length;
    if (!light.gone) light.socket.write('ping\n');
    const pong = () => light.text.indexOf('pong\n', before) !== -1;
    await this.#waiters.until('the end or an answer of the server', () => light.gone || pong());
    return pong();
  }

  #add(socket: Socket): void {
    const light: Light = { socket, text: '', gone: false };
    this.#lights.push(light);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      light.text += chunk.toString();
      this.#waiters.wake();
    });
    socket.on('close', () => {
      light.gone = true;
      this.#waiters.wake();
    });
    this.#waiters.wake();
  }
}

interface Light {
  readonly socket: Socket;
  text: string;
  gone: boolean;
}
