import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { KubeConfig } from '@kubernetes/client-node';

/** A relay on loopback in front of the API server, which can cut all connections. */
export class Relay implements AsyncDisposable {
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((near) => {
    const { hostname, port } = this.#target;
    const far = connect(Number(port || 443), hostname);
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      socket.setNoDelay(true).on('error', () => {});
      socket.once('close', () => {
        this.#sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far).pipe(near);
  });
  readonly #config = new KubeConfig();
  readonly #target: URL;

  private constructor() {
    this.#config.loadFromDefault();
    this.#target = new URL(this.#config.getCurrentCluster()?.server ?? '');
  }

  static async listen(): Promise<Relay> {
    const relay = new Relay();
    relay.#server.listen(0, '127.0.0.1');
    await once(relay.#server, 'listening');
    return relay;
  }

  /** For the option `kubeconfig`: the API server is asked through the relay, and known by its own name. */
  readonly kubeconfig = (): KubeConfig => {
    const config = new KubeConfig();
    const cluster = this.#config.getCurrentCluster();
    const { port } = this.#server.address() as AddressInfo;
    config.loadFromOptions({
      clusters: [
        { ...cluster, server: `https://127.0.0.1:${port}`, tlsServerName: cluster?.tlsServerName ?? 'kubernetes' },
      ],
      users: this.#config.getUsers(),
      contexts: this.#config.getContexts(),
      currentContext: this.#config.getCurrentContext(),
    });
    return config;
  };

  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.cut();
    if (this.#server.listening) await once(this.#server, 'close');
  }
}
