import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

/** The way of one host to the engine: what is done to it is done to nobody else. */
export class Door implements AsyncDisposable {
  readonly sockets = new Set<Socket>();
  /** What was asked for on those that are still open. */
  readonly calls = new Map<Socket, string>();
  /** The host that came by it was killed. */
  isDead = false;
  readonly #http = createServer();
  readonly #path: string | undefined;
  #address: AddressInfo | string | null = null;
  #isOpen = true;

  private constructor(path: string | undefined) {
    this.#path = path;
    this.#http.on('connection', (socket) => {
      socket.on('error', () => {});
      if (!this.#isOpen) {
        socket.destroy();
        return;
      }
      this.sockets.add(socket);
      socket.on('close', () => {
        this.sockets.delete(socket);
        this.calls.delete(socket);
      });
    });
  }

  /** @param path - of its socket; over TCP without one */
  static async open(
    path: string | undefined,
    onRequest: (door: Door, ...rest: Parameters<RequestListener>) => void,
    onUpgrade: (door: Door, request: IncomingMessage, socket: Socket) => void,
  ): Promise<Door> {
    const door = new Door(path);
    door.#http.on('request', (request, response) => {
      door.calls.set(request.socket, `${request.method} ${request.url}`);
      onRequest(door, request, response);
    });
    door.#http.on('upgrade', (request, socket: Socket) => {
      door.calls.set(socket, `${request.method} ${request.url}`);
      onUpgrade(door, request, socket);
    });
    if (path === undefined) door.#http.listen(0, '127.0.0.1');
    else door.#http.listen(path);
    await once(door.#http, 'listening');
    door.#address = door.#http.address();
    return door;
  }

  /** As DOCKER_HOST would name it. */
  get host(): string {
    return this.#path === undefined ? `tcp://127.0.0.1:${(this.#address as AddressInfo).port}` : `unix://${this.#path}`;
  }

  /** Ends all connections, and takes none until it is opened again. */
  shut(): void {
    this.#isOpen = false;
    for (const socket of this.sockets) socket.destroy();
  }

  open(): void {
    this.#isOpen = !this.isDead;
  }

  /** What the end of the host's process does. */
  kill(): void {
    this.isDead = true;
    this.shut();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.shut();
    this.#http.close();
  }
}
