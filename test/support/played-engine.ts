import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { DockerRuntime } from '../../src/runtimes/docker.js';
import { temporaryFolder } from './docker.js';

/** A container engine with one container that does what a test says: for faults that a real one does not show on demand. */
export class PlayedEngine implements AsyncDisposable {
  runtime = new DockerRuntime();
  /** Its address. */
  host = '';
  /** The container, once it was made and until it is removed. */
  hasContainer = false;
  /** The only version of the API that it speaks. */
  version = '1.44';
  /** Whether the container runs, as far as the engine tells. */
  isRunning = false;
  /** What who asks from now on for the removal of the container is answered at once. */
  waitAnswer: object | undefined;
  /** Cuts the connection of who asks from now on. */
  cutsWaits = false;
  /** How often the container was to be removed. */
  removals = 0;
  /** The names of the calls in the order in which they came. */
  readonly calls: string[] = [];
  /** Whether a removal is ever answered. */
  removes = true;
  /** Containers that others have left. */
  left: readonly { readonly Id: string; readonly Labels: Readonly<Record<string, string>> }[] = [];
  /** Whether it knows what it has to say of an image. */
  knowsImages = true;
  /** Whether it answers who looks for it. */
  pings = true;
  /** Comes in place of each answer. */
  page: string | undefined;
  /** The folder of the engine's data, when it tells. */
  dataFolder: string | undefined;
  /** What it answers to who asks from now on for a container, or for a pull, before it does what it is asked. */
  readonly refusals: (readonly [status: number, message: string])[] = [];
  /** The names under which containers were to be made. */
  readonly names: (string | null)[] = [];
  /** Of the container that it says to have. */
  labels: Readonly<Record<string, string>> = {};
  /** What the container was made of. */
  made: { readonly HostConfig?: { readonly Mounts?: readonly object[] } } = {};
  readonly #folder: Awaited<ReturnType<typeof temporaryFolder>>;
  readonly #http = createServer((request, response) => void this.#answer(request, response));
  #attached: Socket | undefined;
  #waiter: ServerResponse | undefined;

  private constructor(folder: Awaited<ReturnType<typeof temporaryFolder>>) {
    this.#folder = folder;
  }

  /** @param far - reached over TCP, as one of another machine */
  static async listen({ far = false } = {}): Promise<PlayedEngine> {
    const made = new PlayedEngine(await temporaryFolder());
    made.#http.on('upgrade', (request, socket: Socket) => {
      if (!request.url?.startsWith(`/v${made.version}/`)) {
        socket.end(
          'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n{"message":"client version 1.44 is too new."}',
        );
        return;
      }
      made.#attached = socket.on('error', () => {});
      socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
    });
    if (far) made.#http.listen(0, '127.0.0.1');
    else made.#http.listen(made.#socket);
    await once(made.#http, 'listening');
    const address = made.#http.address() as AddressInfo | string;
    made.host = typeof address === 'string' ? `unix://${address}` : `tcp://127.0.0.1:${address.port}`;
    made.runtime = new DockerRuntime({ host: made.host, env: { HOME: made.#folder.path } });
    return made;
  }

  /** How many connections are open. */
  async connections(): Promise<number> {
    return new Promise((resolve) => this.#http.getConnections((_, count) => resolve(count)));
  }

  /** Has the server write to its stdout. */
  write(text: string): void {
    const header = Buffer.alloc(8);
    header[0] = 1;
    header.writeUInt32BE(Buffer.byteLength(text), 4);
    this.#attached?.write(Buffer.concat([header, Buffer.from(text)]));
  }

  /** Tells who waits for the removal of the container that it is over. */
  tellEnd(answer: object): void {
    this.#waiter?.end(JSON.stringify(answer));
  }

  /** Cuts the connection of who waits for the removal of the container. */
  cutWait(): void {
    this.#waiter?.socket?.destroy();
  }

  /** Ends the connection to the container. */
  cut(): void {
    this.#attached?.end();
  }

  /** Ends the server; `answer` is for who waits for the removal of the container. */
  endServer(answer: object): void {
    this.cut();
    this.tellEnd(answer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runtime.close();
    this.#attached?.destroy();
    this.#http.closeAllConnections();
    this.#http.close();
    await this.#folder[Symbol.asyncDispose]();
  }

  get #socket(): string {
    return join(this.#folder.path, 'engine.sock');
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method, url = '' } = request;
    const { pathname, searchParams } = new URL(url, 'http://engine');
    const isPull = pathname.endsWith('/images/create');
    const call = method === 'DELETE' ? 'remove' : isPull ? 'pull' : `${pathname.split('/').at(-1)}`;
    this.calls.push(call);
    const tell = (status: number, body: unknown) => response.writeHead(status).end(JSON.stringify(body));
    if (this.page !== undefined && call !== '_ping') {
      response.writeHead(200).end(this.page);
      return;
    }
    const version = /^\/v([\d.]+)/.exec(pathname)?.[1];
    if (version !== undefined && version !== this.version) {
      const message = `client version ${version} is too new. Maximum supported API version is ${this.version}`;
      tell(400, { message });
      return;
    }
    if (call === 'create') this.names.push(searchParams.get('name'));
    const [status, message] = (call === 'create' || isPull ? this.refusals.shift() : undefined) ?? [];
    if (status !== undefined) {
      tell(status, { message });
      return;
    }
    switch (call) {
      case '_ping':
        if (!this.pings) break;
        response.writeHead(200, { 'api-version': this.version }).end('OK');
        break;
      case 'create':
        this.made = JSON.parse(Buffer.concat(await request.toArray()).toString());
        this.hasContainer = true;
        tell(201, { Id: 'played' });
        break;
      case 'wait':
        response.writeHead(200).flushHeaders();
        this.#waiter = response;
        if (this.waitAnswer !== undefined) this.tellEnd(this.waitAnswer);
        if (this.cutsWaits) this.cutWait();
        break;
      case 'info':
        tell(200, { DockerRootDir: this.dataFolder });
        break;
      case 'remove':
        this.removals += 1;
        if (!this.removes) break;
        this.hasContainer = false;
        response.writeHead(204).end();
        break;
      case 'json':
        if (pathname.endsWith('/containers/json')) tell(200, this.left);
        else if (pathname.includes('/images/') && !this.knowsImages) tell(500, { message: 'database is locked' });
        else if (this.hasContainer) {
          const State = { Running: this.isRunning, Paused: false, ExitCode: 1 };
          tell(200, { State, Config: { Labels: this.labels } });
        } else tell(404, { message: 'No such container' });
        break;
      default:
        response.writeHead(call === 'start' ? 204 : 200).end();
    }
  }
}
