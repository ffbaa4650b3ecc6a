import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { WebSocketServer } from 'ws';
import { jobLabel, leaseLabel } from '../../../src/runtimes/k8s-job/manifest.js';
import type { Pod } from '../../../src/runtimes/k8s-job/objects.js';
import type { Chance } from '../../gateway/model/chance.js';
import { fairNow, realSleep } from '../../support/quick-time.js';
import { Door } from '../model/door.js';
import { chooseFault, chooseRefusal, type Fault } from '../model/faults.js';
import type { Judge } from '../model/judge.js';
import { Objects, type Stored } from './objects.js';
import { PlayedPod } from './pod.js';

interface Answer {
  readonly status: number;
  readonly body: object | string;
}

interface Asked {
  readonly door: Door;
  readonly method: string;
  readonly kind: string;
  readonly name: string;
  readonly query: URLSearchParams;
  readonly body: Stored & { readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string } };
}

type PodStatus = NonNullable<Pod['status']>;

const gone = { status: 404, body: { kind: 'Status', message: 'not found' } };
/** Others have taken from the same quota at the same moment: nothing was made. */
const crossed = { status: 409, body: { kind: 'Status', reason: 'Conflict', message: 'the object has been modified' } };
const conflict = { status: 409, body: { kind: 'Status', reason: 'AlreadyExists', message: 'already exists' } };

/** Starts that come to nothing, or to little. */
const badStarts: readonly PodStatus[] = [
  {
    phase: 'Pending',
    conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: 'no nodes' }],
  },
  { phase: 'Pending', containerStatuses: [{ name: 'mcp', state: { waiting: { reason: 'ErrImagePull' } } }] },
  { phase: 'Failed', reason: 'Evicted', message: 'disk pressure' },
  { phase: 'Failed', reason: 'NodeLost' },
  { phase: 'Failed', containerStatuses: [{ name: 'mcp', state: { terminated: { exitCode: 1, reason: 'Error' } } }] },
];

/** An API server with what it keeps and the nodes behind it, whose answers go wrong by chance. */
export class FaultyCluster implements AsyncDisposable {
  /** How many of a hundred calls go wrong. */
  badness = 0;
  /** How many of a hundred pods never run. */
  badStarts = 0;
  readonly objects = new Objects();
  /** Who has which Lease. */
  readonly owners = new Map<string, Door>();
  /** All there ever were. */
  readonly pods: PlayedPod[] = [];
  readonly #renewed = new Map<string, number>();
  readonly #late = new Set<Promise<unknown>>();
  readonly #silent = new Set<Socket>();
  readonly #doors: Door[] = [];
  readonly #webSockets: WebSocketServer;
  readonly #chance: Chance;
  readonly #judge: Judge;

  constructor(chance: Chance, judge: Judge) {
    this.#chance = chance;
    this.#judge = judge;
    const protocol = chance.one(['v4.channel.k8s.io', 'v5.channel.k8s.io']);
    this.#webSockets = new WebSocketServer({ noServer: true, handleProtocols: () => protocol });
  }

  async door(): Promise<Door> {
    const door = await Door.open(
      undefined,
      (from, request, response) => void this.#answer(from, request, response),
      (from, request, socket) => void this.#attach(from, request, socket),
    );
    this.#doors.push(door);
    return door;
  }

  podOf(job: string): PlayedPod | undefined {
    return this.pods.findLast(({ shown }) => shown.metadata.labels?.[jobLabel] === job);
  }

  /** The server in a pod ends. Its status tells of it before or after its output has ended. */
  async endServer(pod: PlayedPod, exitCode: number, reason = 'Error'): Promise<void> {
    if (!pod.isRunning) return;
    const ended = pod.end();
    if (!this.#chance.oneIn(4)) await Promise.race([ended, realSleep(50)]);
    else pod.saidWholly = false;
    const phase = exitCode === 0 ? 'Succeeded' : 'Failed';
    const state = { terminated: { exitCode, reason } };
    this.#show(pod, { phase, containerStatuses: [{ name: 'mcp', state }] });
  }

  /** The API server starts anew: all connections end, and the pods go on. */
  async restart(ms: number): Promise<void> {
    for (const door of this.#doors) door.shut();
    await realSleep(ms);
    for (const door of this.#doors) door.open();
  }

  /** What may happen to a watch. */
  disturbWatches(): void {
    const how = this.#chance.one(['end', 'cut', 'expired', 'error', 'forgotten', 'bookmark', 'wrong shape']);
    this.#judge.count(`watch: ${how}`);
    if (how === 'forgotten') this.objects.forget();
    if (how === 'bookmark') return this.objects.bookmark();
    for (const { response } of this.objects.watchers) {
      if (response.writableEnded) continue;
      const error = { code: how === 'expired' ? 410 : 500, message: 'played' };
      if (how === 'expired' || how === 'error') response.write(`${JSON.stringify({ type: 'ERROR', object: error })}\n`);
      const nonsense = { type: 'MODIFIED', object: { metadata: {}, status: { containerStatuses: {} } } };
      if (how === 'wrong shape') response.write(`${JSON.stringify(nonsense)}\n`);
      if (how === 'cut') response.socket?.destroy();
      else response.end();
    }
  }

  /** Somebody else deletes a pod: its Job makes no other, as it counts as failed. */
  async deletePod(pod: PlayedPod): Promise<void> {
    await this.#takeAway(pod);
  }

  /** Somebody else deletes a Job. */
  deleteJob(pod: PlayedPod): void {
    if (!pod.stuck) this.#removeJob(pod.shown.metadata.labels?.[jobLabel] ?? '');
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
    this.#webSockets.close();
  }

  // --- what the controllers and the kubelets do ---

  #later(what: Promise<unknown>): void {
    const late: Promise<unknown> = what.finally(() => this.#late.delete(late));
    this.#late.add(late);
  }

  async #runJob(job: Stored): Promise<void> {
    const name = job.metadata.name;
    await realSleep(this.#chance.one([0, 2, 5, 20]));
    // A pod may still be made when its Job is just being deleted.
    if (this.objects.get('jobs', name) === undefined && this.#chance.oneIn(2)) return;
    const { template } = job.spec as { template: { metadata: { labels: Record<string, string> } } };
    const made = this.objects.create('pods', { metadata: { ...template.metadata, name: `${name}-pod`, uid: '' } });
    if (made === undefined) return;
    const pod = new PlayedPod(made as Pod, this.#chance);
    pod.stubborn = this.#chance.oneIn(5);
    pod.onInputEnd = () => void this.endServer(pod, 0, 'Completed');
    this.pods.push(pod);
    this.#show(pod, { phase: 'Pending' });
    await realSleep(this.#chance.one([0, 2, 5, 20]));
    if (this.#chance.below(100) < this.badStarts) {
      this.#show(pod, this.#chance.pick(badStarts) ?? {});
    } else {
      const begun = await this.#awaitSecret(name);
      if (begun && this.#isThere(pod) && pod.shown.metadata.deletionTimestamp === undefined) {
        pod.isRunning = true;
        this.#show(pod, { phase: 'Running', containerStatuses: [{ name: 'mcp', state: { running: {} } }] });
      }
    }
    if (this.objects.get('jobs', name) === undefined) await this.#takeAway(pod);
  }

  /** A container is not started without its Secret. */
  async #awaitSecret(name: string): Promise<boolean> {
    // Nobody brings that of a host that was killed.
    const end = fairNow() + 2_000;
    while (this.objects.get('jobs', name) !== undefined && fairNow() < end) {
      if (this.objects.get('secrets', name) !== undefined) return true;
      await realSleep(3);
    }
    return false;
  }

  /** The Job of a pod is gone. */
  async #takeAway(pod: PlayedPod): Promise<void> {
    if (!this.#isThere(pod)) return;
    const { metadata } = pod.shown;
    pod.shown = { ...pod.shown, metadata: { ...metadata, deletionTimestamp: 'now' } };
    this.#show(pod, pod.shown.status ?? {});
    await realSleep(pod.stubborn ? this.#chance.below(150) : this.#chance.below(10));
    await this.endServer(pod, 137);
    this.objects.delete('pods', metadata.name);
  }

  #isThere({ shown: { metadata } }: PlayedPod): boolean {
    return this.objects.get('pods', metadata.name)?.metadata.uid === metadata.uid;
  }

  #show(pod: PlayedPod, status: PodStatus): void {
    if (this.#isThere(pod)) pod.shown = this.objects.change('pods', { ...pod.shown, status } as Stored) as Pod;
  }

  #removeJob(name: string): void {
    this.objects.delete('jobs', name);
    const pod = this.podOf(name);
    if (pod !== undefined) this.#later(this.#takeAway(pod));
    this.#later(realSleep(5).then(() => this.objects.delete('secrets', name)));
  }

  // --- the API ---

  async #answer(door: Door, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = await read(door, request).catch(() => undefined);
    if (asked === undefined) return;
    const isWatch = asked.query.has('watch');
    const call = isWatch ? 'watch' : `${asked.method} ${asked.kind}`;
    const fault = chooseFault(this.#chance, this.badness);
    this.#judge.fault(fault, call, asked.name);
    await this.#fail(fault, call, asked, response);
  }

  async #fail(fault: Fault, call: string, asked: Asked, response: ServerResponse): Promise<void> {
    const { socket } = response;
    const isWatch = call === 'watch';
    const lateMs = () => realSleep(this.#chance.one([1, 5, 5, 20, 80]));
    if (fault !== 'none' && fault !== 'late' && asked.kind === 'log') this.#unheard(asked.name);
    if (asked.kind === 'log') response.on('close', () => response.writableFinished || this.#unheard(asked.name));
    if (fault === 'silent before' || (isWatch && fault === 'silent after')) {
      if (socket) this.#silent.add(socket);
    } else if (fault === 'cut before' || (isWatch && fault === 'cut after')) {
      socket?.destroy();
    } else if (fault === 'refused' || (isWatch && !['none', 'late'].includes(fault))) {
      const { status, body } = chooseRefusal(this.#chance, call);
      // Who answers with 409 has found something that is there.
      const headers = this.#chance.oneIn(2) ? { 'retry-after': '1' } : {};
      response.writeHead(status === 409 ? 500 : status, headers).end(body);
    } else if (fault === 'done later') {
      socket?.destroy();
      this.#later(lateMs().then(() => this.#do(asked)));
    } else if (isWatch) {
      if (fault === 'late') await lateMs();
      const { kind, query } = asked;
      const [selector, version] = [query.get('labelSelector') ?? '', query.get('resourceVersion') ?? ''];
      if (!this.objects.watch(kind, selector, version, response)) response.writeHead(410).end('{"message":"too old"}');
    } else {
      if (fault === 'late') await lateMs();
      const { status, body } = this.#do(asked);
      const text = typeof body === 'string' ? body : JSON.stringify(body);
      if (fault === 'cut after') socket?.destroy();
      else if (fault === 'silent after') this.#silent.add(socket as Socket);
      else if (fault === 'failed after') response.writeHead(504).end('<html>Gateway Time-out</html>');
      else if (fault === 'broken answer') {
        response.writeHead(status, { 'content-length': text.length + 1 });
        response.write(text.slice(0, this.#chance.below(text.length + 1)));
        await realSleep(1);
        socket?.destroy();
      } else {
        if (fault === 'late') await lateMs();
        response.writeHead(status).end(text);
      }
    }
  }

  #do(asked: Asked): Answer {
    const { method, kind, name, query, body, door } = asked;
    if (kind === 'log') return { status: 200, body: this.#podNamed(name)?.log ?? '' };
    if (kind === 'events') return { status: 200, body: { metadata: {}, items: [] } };
    if (kind === 'selfsubjectaccessreviews') return { status: 201, body: { status: { allowed: true } } };
    const found = this.objects.get(kind, name);
    if (method === 'POST') {
      if (query.has('dryRun')) return { status: 201, body };
      if (this.badness > 0 && this.#chance.oneIn(10)) {
        this.#judge.count(`crossed: ${kind}`);
        return crossed;
      }
      const made = this.objects.create(kind, body);
      if (made === undefined) return conflict;
      if (kind === 'jobs') this.#later(this.#runJob(made));
      if (kind === 'leases') this.#renewed.set(made.metadata.name, fairNow());
      const [owner] = made.metadata.ownerReferences ?? [];
      if (kind === 'secrets' && owner?.uid !== this.objects.get('jobs', made.metadata.name)?.metadata.uid) {
        this.#later(realSleep(5).then(() => this.objects.delete('secrets', made.metadata.name)));
      }
      return { status: 201, body: made };
    }
    if (method === 'GET' && name === '') {
      const items = this.objects.list(kind, query.get('labelSelector') ?? '');
      const metadata = { resourceVersion: this.objects.version };
      if (kind === 'pods' && this.badness > 0 && this.#chance.oneIn(10)) {
        this.#judge.count('list: wrong shape');
        return { status: 200, body: { metadata, items: items.map((pod) => ({ ...pod, status: { conditions: {} } })) } };
      }
      return { status: 200, body: { metadata, items } };
    }
    if (found === undefined) return gone;
    if (method === 'GET') return { status: 200, body: found };
    if (method === 'PATCH') {
      if (kind === 'leases') this.#renewed.set(name, fairNow());
      return { status: 200, body: this.objects.change(kind, { ...found, spec: { ...found.spec, ...body.spec } }) };
    }
    const { uid = found.metadata.uid, resourceVersion = found.metadata.resourceVersion } = body.preconditions ?? {};
    if (uid !== found.metadata.uid || resourceVersion !== found.metadata.resourceVersion) return conflict;
    this.#judgeEnd(door, kind, found);
    if (kind === 'jobs' && this.podOf(name)?.stuck) return { status: 403, body: { message: 'a webhook refuses it' } };
    if (kind === 'jobs') this.#removeJob(name);
    else this.objects.delete(kind, name);
    return { status: 200, body: { status: 'Success' } };
  }

  #podNamed(name: string): PlayedPod | undefined {
    return this.pods.findLast(({ shown }) => shown.metadata.name === name);
  }

  /** What the container said before it was attached to may not be known. */
  #unheard(name: string): void {
    const pod = this.#podNamed(name);
    if (pod !== undefined) pod.beganUnheard = true;
  }

  async #attach(door: Door, request: IncomingMessage, socket: Socket): Promise<void> {
    const name = new URL(request.url ?? '', 'http://api').pathname.split('/').at(-2) ?? '';
    const fault = chooseFault(this.#chance, this.badness);
    this.#judge.fault(fault, 'attach', name);
    const pod = this.#podNamed(name);
    if (fault === 'cut before' || fault === 'done later') socket.destroy();
    else if (fault === 'silent before' || fault === 'silent after')
      this.#silent.add(socket.resume().once('end', () => socket.destroy()));
    else if (fault === 'broken answer') socket.end('HTTP/1.1 101 Swi');
    else if (!pod?.isRunning || fault === 'refused' || fault === 'failed after') {
      const { status, body } = chooseRefusal(this.#chance, 'attach');
      socket.end(`HTTP/1.1 ${status} No\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`);
    } else {
      if (fault === 'late') await realSleep(this.#chance.below(20));
      if (door.isDead || socket.destroyed) return;
      this.#webSockets.handleUpgrade(request, socket, Buffer.alloc(0), (opened) => {
        pod.attach(opened);
        if (fault === 'cut after') pod.cut(this.#chance.oneIn(2));
      });
    }
  }

  /** Only who made an object may delete it, or anybody once its gateway has not renewed its Lease for long. */
  #judgeEnd(by: Door, kind: string, { metadata }: Stored): void {
    const lease = kind === 'leases' ? metadata.name : metadata.labels?.[leaseLabel];
    const silentMs = fairNow() - (this.#renewed.get(lease ?? '') ?? 0);
    const isOwn = this.owners.get(lease ?? '') === by;
    if (lease === undefined || (!isOwn && silentMs < 2_000)) {
      this.#judge.problem(`${kind} ${metadata.name} of another is deleted, ${silentMs.toFixed()} ms after its renewal`);
    }
  }
}

async function read(door: Door, request: IncomingMessage): Promise<Asked> {
  const text = Buffer.concat(await request.toArray()).toString();
  const { pathname, searchParams: query } = new URL(request.url ?? '', 'http://api');
  // api/v1/… or apis/group/version/…, then namespaces/home.
  const parts = pathname.split('/').slice(pathname.startsWith('/api/') ? 3 : 4);
  const [kind = '', name = '', sub] = parts[0] === 'namespaces' ? parts.slice(2) : parts;
  return {
    door,
    query,
    method: request.method ?? '',
    kind: sub ?? kind,
    name,
    body: text === '' ? {} : JSON.parse(text),
  };
}
