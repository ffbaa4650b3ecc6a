import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type NetConnectOpts, type Socket } from 'node:net';

/** A proxy on loopback whose connections can be cut. */
export class CutProxy {
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  readonly #target: () => NetConnectOpts;
  readonly #server = createServer({ allowHalfOpen: true }, (client) => this.#join(client));
  #refuses = false;

  private constructor(target: () => NetConnectOpts) {
    this.#target = target;
  }

  /** @param target - asked for each connection */
  static async open(target: () => NetConnectOpts): Promise<CutProxy> {
    const proxy = new CutProxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /**
   * Those that their client has not ended. What the other side keeps of the others is its own: an engine may hold on to a
   * stream of a container that was attached to and never started.
   */
  get connections(): number {
    return [...this.#pairs].filter(([client]) => !client.readableEnded).length;
  }

  /** Cuts each connection with this chance, by a reset or by an end. */
  cut(random: () => number, chance: number): void {
    for (const [client, server] of this.#pairs) {
      if (random() >= chance) continue;
      if (random() < 0.5) client.resetAndDestroy();
      else client.destroy();
      server.destroy();
    }
  }

  /** Refuses who connects, for so long. */
  refuse(ms: number): void {
    this.#refuses = true;
    setTimeout(() => {
      this.#refuses = false;
    }, ms).unref();
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    await closed;
  }

  #join(client: Socket): void {
    if (this.#refuses) {
      client.on('error', () => {});
      client.resetAndDestroy();
      return;
    }
    const server = connect({ allowHalfOpen: true, ...this.#target() });
    const pair = [client, server] as const;
    this.#pairs.add(pair);
    for (const [from, to] of [pair, [server, client] as const]) {
      from.setNoDelay(true).pipe(to);
      from.on('error', () => to.destroy());
      from.once('close', () => {
        this.#pairs.delete(pair);
        // What was read before still arrives.
        to.destroySoon();
      });
    }
  }
}
