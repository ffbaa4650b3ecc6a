import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { KubeConfig } from '@kubernetes/client-node';

/** Stands between a gateway and the API server of KUBECONFIG, and cuts their connections when it is told to. */
export class CuttingProxy implements AsyncDisposable {
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  readonly #target: URL;
  /** Refuses new connections as well. */
  down = false;
  readonly #server = createServer((client) => {
    if (this.down) {
      client.resetAndDestroy();
      return;
    }
    const server = connect(Number(this.#target.port), this.#target.hostname);
    const pair = [client, server] as const;
    this.#pairs.add(pair);
    for (const [from, to] of [pair, [server, client]] as const) {
      from.pipe(to);
      from.on('error', () => to.destroy()).once('close', () => this.#pairs.delete(pair));
    }
  });

  private constructor(target: URL) {
    this.#target = target;
  }

  static async listen(): Promise<CuttingProxy> {
    const config = new KubeConfig();
    config.loadFromDefault();
    const proxy = new CuttingProxy(new URL(config.getCurrentCluster()?.server ?? ''));
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  /** For the option `kubeconfig` of a runtime. */
  readonly kubeconfig = (): KubeConfig => {
    const config = new KubeConfig();
    config.loadFromDefault();
    const cluster = config.getCurrentCluster();
    if (cluster === null) throw new Error('KUBECONFIG names no cluster');
    const { port } = this.#server.address() as AddressInfo;
    // Certificates of API servers are for this name too, and an address is no name.
    const through = { ...cluster, server: `https://127.0.0.1:${port}`, tlsServerName: 'kubernetes' };
    config.clusters = [through];
    return config;
  };

  cut(): void {
    for (const [client, server] of this.#pairs) {
      client.resetAndDestroy();
      server.destroy();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.cut();
    await once(this.#server, 'close');
  }
}
