import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import type { KubeConfigLike } from '../../../src/runtimes/shared/kubernetes/kube-config.js';

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** An API server that does what a test says: for faults, and for what the real one is too old for. */
export class FakeApiServer implements AsyncDisposable {
  /** Every request, as `GET /path?query`. */
  readonly requests: string[] = [];
  /** What `authorization` each request had. */
  readonly tokens: (string | undefined)[] = [];
  /** Tokens to give out, one for each time that the configuration is read; the last one stays. */
  givenTokens = ['first'];
  configReads = 0;
  answer: Answer = (_request, response) => sendJson(response, 404, { message: 'nothing here' });
  /** Which subprotocol to take; false refuses the upgrade by `refuseUpgrade`. */
  takeProtocol: (offered: ReadonlySet<string>) => string | false = (offered) => [...offered][0] ?? false;
  /** Told of each upgrade; what it cuts, or says false to, is not answered. */
  upgrading: (socket: Duplex) => unknown = () => {};
  refuseUpgrade: { readonly status: number; readonly body: string; readonly headers?: string } | undefined;
  connected: (socket: WebSocket) => void = () => {};
  readonly #http = createServer((request, response) => {
    this.#note(request);
    this.answer(request, response);
  });
  readonly #sockets = new Set<Socket>();
  readonly #webSockets = new WebSocketServer({
    noServer: true,
    handleProtocols: (offered) => this.takeProtocol(offered),
  });

  static async listen(): Promise<FakeApiServer> {
    const made = new FakeApiServer();
    made.#http.on('connection', (socket) => {
      made.#sockets.add(socket);
      socket.on('error', () => {}).once('close', () => made.#sockets.delete(socket));
    });
    made.#http.on('upgrade', (request, socket, head) => {
      made.#note(request);
      const isAnswered = made.upgrading(socket) !== false;
      if (socket.destroyed || !isAnswered) return;
      const refusal = made.refuseUpgrade;
      if (refusal !== undefined) {
        const { status, body, headers = '' } = refusal;
        socket.end(
          `HTTP/1.1 ${status} No\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n${headers}\r\n${body}`,
        );
        return;
      }
      made.#webSockets.handleUpgrade(request, socket, head, (opened) => {
        opened.on('error', () => {});
        made.connected(opened);
      });
    });
    made.#http.listen(0, '127.0.0.1');
    await once(made.#http, 'listening');
    made.url = `http://127.0.0.1:${(made.#http.address() as AddressInfo).port}`;
    return made;
  }

  url = '';

  /** Open connections. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** For the option `kubeconfig` of a runtime. */
  readonly kubeconfig = (): KubeConfigLike => {
    const token = this.givenTokens[Math.min(this.configReads, this.givenTokens.length - 1)];
    this.configReads += 1;
    let current = 'here';
    return {
      getContexts: () => [{ name: 'here', namespace: 'home' }, { name: 'there' }],
      getCurrentContext: () => current,
      setCurrentContext: (name) => {
        current = name;
      },
      getCurrentCluster: () => ({ server: this.url }),
      applyToHTTPSOptions: async (options) => {
        Object.assign(options, { headers: { authorization: `Bearer ${token}` } });
      },
    };
  };

  /** The WebSockets that are open. */
  get webSockets(): ReadonlySet<WebSocket> {
    return this.#webSockets.clients;
  }

  /** Cuts every connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#http.close();
    for (const socket of this.#sockets) socket.destroy();
    this.#webSockets.close();
    if (this.#http.listening) await once(this.#http, 'close');
  }

  #note({ method, url, headers }: IncomingMessage): void {
    this.requests.push(`${method} ${decodeURIComponent(url ?? '')}`);
    this.tokens.push(headers.authorization);
  }
}

export function sendJson(response: ServerResponse, status: number, body: object, headers: object = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}
