import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { ownerLabel } from '../../../src/runtimes/docker/labels.js';
import { formatOwner, parseOwner } from '../../../src/runtimes/docker/owner.js';
import type { Chance } from '../../gateway/model/chance.js';
import { realSleep } from '../../support/quick-time.js';
import { Door } from '../model/door.js';
import { chooseFault, chooseRefusal, type Fault } from '../model/faults.js';
import type { Judge } from '../model/judge.js';
import { type ContainerBody, PlayedContainer } from './container.js';

interface Answer {
  readonly status: number;
  readonly body?: unknown;
}

interface Asked {
  readonly door: Door;
  readonly call: string;
  readonly url: URL;
  readonly id: string;
  readonly body: unknown;
}

/** More than any pid. */
const deadPid = 4_194_305;

/** A container engine with a state, whose answers go wrong by chance. */
export class FaultyEngine implements AsyncDisposable {
  /** How many of a hundred calls go wrong. */
  badness = 0;
  readonly containers = new Map<string, PlayedContainer>();
  /** All there ever were. */
  readonly made: PlayedContainer[] = [];
  hasImage = true;
  /** What is done though nobody waits for it any more. */
  readonly #late = new Set<Promise<void>>();
  readonly #silent = new Set<Socket>();
  readonly #doors: Door[] = [];
  readonly #chance: Chance;
  readonly #folder: string;

  readonly #judge: Judge;

  constructor(chance: Chance, folder: string, judge: Judge) {
    this.#chance = chance;
    this.#folder = folder;
    this.#judge = judge;
  }

  async door(far: boolean): Promise<Door> {
    const path = far ? undefined : join(this.#folder, `${this.#doors.length}.sock`);
    const door = await Door.open(
      path,
      (from, request, response) => void this.#answer(from, request, response),
      (from, request, socket) => void this.#attach(from, request, socket),
    );
    this.#doors.push(door);
    return door;
  }

  /** A container that no host of the schedule has made. */
  addForeign(name: string, labels: Record<string, string>): PlayedContainer {
    const container = this.#make(name, { Image: 'image', Labels: labels }, undefined);
    container.state = 'running';
    return container;
  }

  /** The server in a container ends, and the container is removed as it was asked for when it was made. */
  async endServer(container: PlayedContainer, code: number, oom = false): Promise<void> {
    if (container.state !== 'running') return;
    if (oom) container.note('oom');
    await container.end(code);
    // An engine may take its time to clear up.
    if (this.#chance.oneIn(2)) await Promise.race([container.read.promise, realSleep(50)]);
    container.isTold = true;
    const failure = container.stuck || (this.badness > 0 && this.#chance.oneIn(8));
    if (failure) {
      this.#judge.count('removal failed');
      const busy = {
        StatusCode: code,
        Error: { Message: 'failed to remove root filesystem: device or resource busy' },
      };
      for (const waiter of container.waiters) waiter.end(JSON.stringify(busy));
    } else {
      this.#remove(container);
    }
  }

  /** What a proxy does that ends what is silent for long. */
  async cutWaits({ waiters }: PlayedContainer): Promise<void> {
    for (let left = this.#chance.one([1, 1, 3]); left > 0; left -= 1) {
      for (const waiter of waiters) waiter.socket?.destroy();
      await realSleep(60);
    }
  }

  /** The engine's process starts anew. @param goOn - the containers do not end with it */
  async restart(goOn: boolean, ms: number): Promise<void> {
    for (const door of this.#doors) door.shut();
    for (const container of this.containers.values()) {
      container.waiters.clear();
      if (container.door !== undefined && !goOn) void this.endServer(container, 137);
    }
    await realSleep(ms);
    for (const door of this.#doors) door.open();
  }

  /** Whoever looks for the owners of containers finds that those of killed hosts are dead. */
  markDead(): void {
    for (const container of this.containers.values()) markDead(container);
  }

  /** From now on everything goes right. Resolves when nothing of what went wrong is still to come. */
  async heal(): Promise<void> {
    this.badness = 0;
    for (const socket of this.#silent) socket.destroy();
    this.#silent.clear();
    while (this.#late.size > 0) await Promise.all(this.#late);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const door of this.#doors) await door[Symbol.asyncDispose]();
  }

  #make(name: string, body: ContainerBody, door: Door | undefined): PlayedContainer {
    const id = `${this.made.length + 1}`.padStart(12, 'c').padEnd(64, '0');
    const container = new PlayedContainer(id, name, body, door, this.#chance);
    container.stubborn = this.#chance.oneIn(5);
    container.onEnd = (code) => void this.endServer(container, code);
    this.containers.set(id, container);
    this.made.push(container);
    markDead(container);
    return container;
  }

  #remove(container: PlayedContainer): void {
    this.containers.delete(container.id);
    container.note('destroy');
    for (const follower of container.followers) follower.end();
    for (const waiter of container.waiters) waiter.end(JSON.stringify({ StatusCode: container.exitCode, Error: null }));
  }

  #find(id: string): PlayedContainer | undefined {
    return this.containers.get(id) ?? [...this.containers.values()].find(({ name }) => name === id);
  }

  // --- the API ---

  async #answer(door: Door, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = await read(door, request).catch(() => undefined);
    if (asked === undefined) return;
    const { call } = asked;
    const fault = chooseFault(this.#chance, call === '_ping' ? this.badness / 4 : this.badness);
    this.#judge.fault(fault, call, asked.id);
    await this.#fail(fault, asked, response).catch(() => {});
  }

  async #fail(fault: Fault, asked: Asked, response: ServerResponse): Promise<void> {
    const { socket } = response;
    const cut = () => socket?.destroy();
    const lateMs = () => realSleep(this.#chance.one([1, 5, 5, 20, 80]));
    switch (fault) {
      case 'cut before':
        cut();
        break;
      case 'silent before':
        if (socket) this.#silent.add(socket);
        break;
      case 'silent after':
        await this.#do(asked);
        if (socket) this.#silent.add(socket);
        break;
      case 'cut after':
        await this.#do(asked);
        cut();
        break;
      case 'done later': {
        cut();
        const done = lateMs().then(() => this.#do(asked));
        const late: Promise<void> = done.then(() => void this.#late.delete(late));
        this.#late.add(late);
        break;
      }
      case 'refused': {
        const { status, body } = chooseRefusal(this.#chance, asked.call);
        response.writeHead(status).end(body);
        break;
      }
      case 'failed after':
        await this.#do(asked);
        response.writeHead(504).end('<html>Gateway Time-out</html>');
        break;
      case 'broken answer': {
        const { status, body } = await this.#do(asked);
        const text = JSON.stringify(body ?? {});
        response.writeHead(status, { 'content-length': text.length });
        response.write(text.slice(0, this.#chance.below(text.length)));
        await realSleep(1);
        cut();
        break;
      }
      default: {
        if (fault === 'late') await lateMs();
        if (asked.call === 'wait' || asked.call === 'events' || asked.call === 'pull') {
          await this.#stream(asked, response);
          break;
        }
        const { status, body } = await this.#do(asked);
        if (fault === 'late' && this.#chance.oneIn(2)) await lateMs();
        const headers = { 'api-version': '1.44' };
        response.writeHead(status, headers).end(body === undefined ? undefined : JSON.stringify(body));
      }
    }
  }

  /** Answers that come in pieces. */
  async #stream({ call, id }: Asked, response: ServerResponse): Promise<void> {
    if (call === 'pull') {
      response.writeHead(200);
      for (let layer = 0; layer < 3; layer += 1) {
        response.write(`${JSON.stringify({ id: `${layer}`, status: 'Pull complete' })}\n`);
        await realSleep(1);
        if (this.badness > 0 && this.#chance.oneIn(12)) {
          if (this.#chance.oneIn(2)) response.socket?.destroy();
          else response.end('{"errorDetail":{"message":"no space left on device"}}\n');
          return;
        }
      }
      this.hasImage = true;
      response.end();
      return;
    }
    // A busy engine takes the question after the end when there may have been one.
    if (call === 'wait' && this.#chance.oneIn(8)) {
      this.#judge.count('wait taken late');
      await realSleep(this.#chance.below(150));
    }
    // What has happened to one that is gone is remembered.
    const container = call === 'events' ? this.made.find((one) => one.id === id) : this.#find(id);
    if (container === undefined) {
      response.writeHead(404).end('{"message":"No such container"}');
      return;
    }
    const listeners = call === 'wait' ? container.waiters : container.followers;
    listeners.add(response);
    response.on('close', () => listeners.delete(response));
    // Podman says nothing before the answer.
    if (call === 'events' || !this.#chance.oneIn(4)) response.writeHead(200).flushHeaders();
    if (call === 'events') for (const event of container.events) response.write(`${JSON.stringify(event)}\n`);
    if (call === 'events' && !this.containers.has(id)) response.end();
  }

  async #do(asked: Asked): Promise<Answer> {
    const { door, call, id, url } = asked;
    const gone = { status: 404, body: { message: `No such container: ${id}` } };
    switch (call) {
      case '_ping':
        return { status: 200, body: 'OK' };
      case 'create':
        return this.#create(asked);
      case 'list': {
        const { label = [] } = JSON.parse(url.searchParams.get('filters') ?? '{}') as { label?: string[] };
        const found = [...this.containers.values()].filter(({ labels }) => label.every((one) => hasLabel(labels, one)));
        return { status: 200, body: found.map(({ id: Id, labels: Labels }) => ({ Id, Labels })) };
      }
      case 'image':
        return this.hasImage
          ? { status: 200, body: { Id: 'image' } }
          : { status: 404, body: { message: 'No such image' } };
    }
    const container = this.#find(id);
    if (container === undefined) return gone;
    switch (call) {
      case 'inspect': {
        const running = container.state === 'running';
        const State = { Running: running, Paused: false, ExitCode: container.exitCode };
        return { status: 200, body: { State, Config: { Labels: container.labels } } };
      }
      case 'start':
        if (container.state === 'created') container.state = 'running';
        container.note('start');
        return { status: 204 };
      case 'stop':
        this.#judgeEnd(door, container, call);
        if (container.stubborn) await realSleep(this.#chance.below(150));
        await this.endServer(container, 137);
        return { status: 204 };
      case 'remove':
        this.#judgeEnd(door, container, call);
        if (container.stuck) return { status: 500, body: { message: 'device or resource busy' } };
        if (container.state === 'running') await container.end(137);
        if (this.containers.has(container.id)) this.#remove(container);
        return { status: 204 };
      default:
        return { status: 404, body: { message: 'page not found' } };
    }
  }

  #create({ door, url, body }: Asked): Answer {
    if (!this.hasImage) return { status: 404, body: { message: 'No such image: image' } };
    const name = url.searchParams.get('name') ?? '';
    if (this.#find(name) !== undefined) {
      const message = `Conflict. The container name "/${name}" is already in use by container "x".`;
      return { status: 409, body: { message } };
    }
    const container = this.#make(name, body as ContainerBody, door);
    return { status: 201, body: { Id: container.id } };
  }

  async #attach(door: Door, request: IncomingMessage, socket: Socket): Promise<void> {
    const id = new URL(request.url ?? '', 'http://engine').pathname.split('/').at(-2) ?? '';
    const fault = chooseFault(this.#chance, this.badness);
    this.#judge.fault(fault, 'attach', id);
    const container = this.#find(id);
    if (fault === 'refused' || container === undefined) {
      const { status, body } =
        container === undefined ? { status: 404, body: '{}' } : chooseRefusal(this.#chance, 'attach');
      socket.end(`HTTP/1.1 ${status} No\r\nConnection: close\r\n\r\n${body}`);
      return;
    }
    if (fault === 'silent before') this.#silent.add(socket.resume().once('end', () => socket.destroy()));
    else if (fault === 'cut before' || fault === 'done later') socket.destroy();
    else if (fault === 'broken answer') socket.end('HTTP/1.1 101 UPGR');
    else {
      if (fault === 'late') await realSleep(this.#chance.below(20));
      if (door.isDead) return;
      // Nobody waits for it any more: what is written then fails without a word.
      if (socket.readableEnded) return void socket.destroy();
      container.attach(socket);
      if (fault === 'silent after') this.#silent.add(socket);
      else socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
      if (fault === 'cut after') container.cut(this.#chance.oneIn(2));
    }
  }

  /** Only who made a container may end it, or anybody once that host is dead. */
  #judgeEnd(by: Door, { door, name }: PlayedContainer, call: string): void {
    if (door !== by && door?.isDead !== true) {
      this.#judge.problem(
        `${call} of the container ${name}, which belongs to ${door === undefined ? 'nobody' : 'a living host'}`,
      );
    }
  }
}

function markDead(container: PlayedContainer): void {
  const owner = parseOwner(container.labels[ownerLabel] ?? '');
  if (container.door?.isDead && owner !== undefined) {
    container.labels[ownerLabel] = formatOwner({ ...owner, pid: deadPid });
  }
}

function hasLabel(labels: Record<string, string>, wanted: string): boolean {
  const [name = '', ...value] = wanted.split('=');
  return value.length === 0 ? name in labels : labels[name] === value.join('=');
}

async function read(door: Door, request: IncomingMessage): Promise<Asked> {
  const text = Buffer.concat(await request.toArray()).toString();
  const url = new URL(request.url ?? '', 'http://engine');
  const [kind = '', part = '', last = ''] = url.pathname
    .replace(/^\/v[\d.]+/, '')
    .split('/')
    .slice(1);
  const { container = [part] } = JSON.parse(url.searchParams.get('filters') ?? '{}') as { container?: [string] };
  const call = nameOf(request.method, kind, part, last);
  return { door, url, id: container[0], call, body: text === '' ? undefined : JSON.parse(text) };
}

function nameOf(method: string | undefined, kind: string, id: string, last: string): string {
  if (kind === 'images') return last === 'json' ? 'image' : 'pull';
  if (kind !== 'containers') return kind;
  if (method === 'DELETE') return 'remove';
  if (last === '') return id === 'json' ? 'list' : id;
  return last === 'json' ? 'inspect' : last;
}
