import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import type { KubeConfigLike } from '../../../src/runtimes/shared/kubernetes/kube-config.js';
import type { Chance } from '../../gateway/model/chance.js';
import { realSleep } from '../../support/quick-time.js';
import { Objects } from '../k8s-job-model/objects.js';
import { Door } from '../model/door.js';
import { chooseFault, chooseRefusal, type Fault } from '../model/faults.js';
import { type Judge, secret } from '../remote-sse-model/judge.js';
import { type Kind, PlayedPod } from './pod.js';

const data = 0;
const errors = 1;
const token = `Bearer ${secret}-of-the-cluster`;
const labels = { 'kubernetes.io/service-name': 'orders' };
/** Of an API server that is in trouble, that comes up, or whose data was restored. */
const statuses = [401, 403, 404, 429, 500, 503] as const;

/** An API server with a service whose pods come and go, and whose answers and forwarded ports go wrong by chance. */
export class ServiceCluster implements AsyncDisposable {
  /** How many of a hundred calls go wrong. */
  badness = 0;
  /** All there ever were. */
  readonly pods: PlayedPod[] = [];
  /** Calls of the API. */
  asked = 0;
  readonly #kind: Kind;
  readonly #setting: number;
  readonly #chance: Chance;
  readonly #judge: Judge;
  readonly #objects = new Objects();
  readonly #late = new Set<Promise<unknown>>();
  readonly #silent = new Set<Socket>();
  readonly #webSockets = new WebSocketServer({ noServer: true });
  /** The oldest versions are not served: of slices, or slices at all. */
  readonly #missing: RegExp;
  #door!: Door;

  private constructor(chance: Chance, judge: Judge, setting: number, kind: Kind) {
    this.#chance = chance;
    this.#judge = judge;
    this.#setting = setting;
    this.#kind = kind;
    this.#missing = chance.one([/discovery\.k8s\.io\/v1beta1\//, /discovery\.k8s\.io\/v1\//, /discovery\.k8s\.io/]);
  }

  static async open(chance: Chance, judge: Judge, setting: number, kind: Kind): Promise<ServiceCluster> {
    const made = new ServiceCluster(chance, judge, setting, kind);
    made.#door = await Door.open(
      undefined,
      (_, request, response) => void made.#answer(request, response),
      (_, request, socket) => void made.#upgrade(request, socket),
    );
    made.#objects.create('endpoints', { metadata: { name: 'orders', uid: '' } });
    // As it is when the last of its pods has gone.
    const none = { ports: [{ name: 'http', port: 1 }], endpoints: null } as object;
    made.#objects.create('endpointslices', { metadata: { name: 'orders-none', uid: '', labels }, ...none });
    return made;
  }

  get connections(): readonly string[] {
    return [...this.#door.sockets].map((socket) => this.#door.calls.get(socket) ?? 'nothing');
  }

  /** For the option of the runtime. */
  readonly kubeconfig = (): KubeConfigLike => ({
    getContexts: () => [{ name: 'here', namespace: 'home' }],
    getCurrentContext: () => 'here',
    setCurrentContext: () => {},
    getCurrentCluster: () => ({ server: this.#door.host.replace('tcp:', 'http:') }),
    applyToHTTPSOptions: async (options) => {
      Object.assign(options, { headers: { authorization: token } });
    },
  });

  // --- what becomes of pods ---

  /** Pods that belong to the service. */
  get members(): PlayedPod[] {
    return this.pods.filter(({ isLeaving }) => !isLeaving);
  }

  async add(name = `pod-${this.pods.length}`): Promise<void> {
    const pod = new PlayedPod(this.pods.length, name, this.#judge, this.#setting, this.#kind);
    this.pods.push(pod);
    await pod.server.play.host.open();
    this.#show(pod);
    await realSleep(this.#chance.one([0, 0, 5, 30]));
    if (!pod.isLeaving) this.setReady(pod, true);
  }

  setReady(pod: PlayedPod, isReady: boolean): void {
    pod.isReady = isReady;
    this.#show(pod);
  }

  /** It is told to end, ends after a while, and is shown as leaving until then. */
  async terminate(pod: PlayedPod): Promise<void> {
    pod.isLeaving = true;
    this.#show(pod);
    await realSleep(this.#chance.one([0, 10, 60]));
    await pod.end(false);
    this.#remove(pod);
  }

  /** It ends at once, and the cluster finds out later. A pod of a StatefulSet comes back under its name. */
  async kill(pod: PlayedPod): Promise<void> {
    await pod.end(this.#chance.oneIn(2));
    await realSleep(this.#chance.one([0, 10, 60]));
    this.#remove(pod);
    if (this.#chance.oneIn(3)) await this.add(pod.name);
  }

  #show(pod: PlayedPod): void {
    for (const name of slicesOf(pod)) {
      const slice = this.#objects.get('endpointslices', name);
      const shown = { metadata: { name, uid: '', labels }, ...sliceOf(pod) };
      if (slice === undefined) this.#objects.create('endpointslices', shown);
      else this.#objects.change('endpointslices', { ...slice, ...sliceOf(pod) } as typeof slice);
    }
    this.#showEndpoints();
  }

  #remove(pod: PlayedPod): void {
    for (const name of slicesOf(pod)) this.#objects.delete('endpointslices', name);
    this.#showEndpoints();
  }

  #showEndpoints(): void {
    const known = this.#objects.get('endpoints', 'orders');
    const subsets = this.members.map((pod) => ({
      [pod.isReady ? 'addresses' : 'notReadyAddresses']: [{ ip: '127.0.0.1', targetRef: targetOf(pod) }],
      ports: [{ name: 'http', port: pod.port }],
    }));
    this.#objects.change('endpoints', { ...known, subsets } as unknown as NonNullable<typeof known>);
  }

  // --- what becomes of the API server ---

  disturbWatches(): void {
    const how = this.#chance.one([
      'end',
      'cut',
      'expired',
      'error',
      'forgotten',
      'nonsense',
      'bookmark',
      'wrong shape',
    ]);
    this.#judge.count(`watch: ${how}`);
    if (how === 'forgotten') this.#objects.forget();
    if (how === 'bookmark') return this.#objects.bookmark();
    for (const { response } of this.#objects.watchers) {
      if (response.writableEnded) continue;
      const object = { code: how === 'expired' ? 410 : 500, message: 'played' };
      if (how === 'expired' || how === 'error') response.write(`${JSON.stringify({ type: 'ERROR', object })}\n`);
      if (how === 'nonsense') response.write('<html>\n');
      const wrong = { metadata: {}, endpoints: {}, subsets: {} };
      if (how === 'wrong shape') response.write(`${JSON.stringify({ type: 'MODIFIED', object: wrong })}\n`);
      if (how === 'cut') response.socket?.destroy();
      else response.end();
    }
  }

  /** All connections end, forwarded ports among them. */
  async restart(ms: number): Promise<void> {
    this.#door.shut();
    await realSleep(ms);
    this.#door.open();
  }

  async heal(): Promise<void> {
    this.badness = 0;
    for (const pod of this.pods) pod.server.play.isKind = true;
    for (const socket of this.#silent) socket.destroy();
    this.#silent.clear();
    while (this.#late.size > 0) await Promise.all(this.#late);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#door[Symbol.asyncDispose]();
    this.#webSockets.close();
    for (const { server } of this.pods) {
      await Promise.all([server.play.host.close(), server.play.other.close()]);
      while (server.play.held.length > 0) server.play.release();
    }
  }

  // --- the API ---

  #begin(request: IncomingMessage, call: string): Fault {
    this.asked += 1;
    if (request.headers.authorization !== token)
      this.#judge.problem(`${call} comes with ${request.headers.authorization}`);
    const fault = chooseFault(this.#chance, this.badness);
    this.#judge.count(`${fault}: ${call}`);
    return fault;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams: query } = new URL(request.url ?? '', 'http://api');
    const kind = pathname.split('/').slice(pathname.startsWith('/api/') ? 5 : 6)[0] ?? '';
    const isReview = pathname.endsWith('/selfsubjectaccessreviews');
    if (request.method !== 'GET' && !isReview) this.#judge.problem(`${request.method} ${pathname} changes the cluster`);
    const isWatch = query.has('watch');
    const fault = this.#begin(request, isWatch ? 'watch' : isReview ? 'review' : kind);
    const { socket } = response;
    if (fault.startsWith('silent')) return void (socket && this.#silent.add(socket));
    if (fault === 'cut before' || fault === 'cut after') return void socket?.destroy();
    if (fault === 'late') await realSleep(this.#chance.one([1, 5, 20, 80]));
    if (fault === 'refused' || fault === 'failed after' || fault === 'done later') {
      const { body } = chooseRefusal(this.#chance, kind);
      const headers = this.#chance.oneIn(2) ? { 'retry-after': '1' } : {};
      return void response.writeHead(this.#chance.one(statuses), headers).end(body);
    }
    if (this.#missing.test(pathname)) return void response.writeHead(404).end('404 page not found');
    const selector = kind === 'endpoints' ? '' : (query.get('labelSelector') ?? '');
    if (isWatch && fault !== 'broken answer') {
      if (this.#objects.watch(kind, selector, query.get('resourceVersion') ?? '', response)) return;
      return void response.writeHead(410).end('{"message":"too old"}');
    }
    const items = this.#objects.list(kind, selector);
    const body = isReview
      ? { status: { allowed: true } }
      : kind === 'services'
        ? { metadata: { name: 'orders' }, spec: { ports: [{ name: 'http', port: 80, protocol: 'TCP' }] } }
        : { metadata: { resourceVersion: this.#objects.version }, items };
    const text = JSON.stringify(body);
    if (fault !== 'broken answer') return void response.writeHead(200).end(text);
    if (this.#chance.oneIn(2)) return void response.writeHead(200).end('<html>Sign in</html>');
    response
      .writeHead(200, { 'content-length': text.length + 1 })
      .write(text.slice(0, this.#chance.below(text.length)));
    await realSleep(1);
    socket?.destroy();
  }

  async #upgrade(request: IncomingMessage, socket: Socket): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://api');
    const name = pathname.split('/').at(-2) ?? '';
    const fault = this.#begin(request, 'portforward');
    if (fault === 'cut before') return void socket.destroy();
    if (fault === 'silent before') return void this.#silent.add(socket.resume().once('end', () => socket.destroy()));
    if (fault === 'broken answer') return void socket.end('HTTP/1.1 101 Swi');
    if (fault === 'late') await realSleep(this.#chance.one([1, 5, 20, 80]));
    const isThere = this.pods.some((pod) => pod.name === name && pod.server.play.host.isUp);
    if (!isThere || fault === 'refused') {
      const status = isThere ? this.#chance.one(statuses) : 404;
      const body = '{"message":"played refusal"}';
      return void socket.end(
        `HTTP/1.1 ${status} No\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
      );
    }
    if (socket.destroyed) return;
    this.#webSockets.handleUpgrade(request, socket, Buffer.alloc(0), (opened) => {
      this.#forward(
        opened.on('error', () => {}),
        Number(searchParams.get('ports')),
        fault,
      );
    });
  }

  /** As the kubelet does it: the number of the port on both channels, then bytes. */
  #forward(socket: WebSocket, port: number, fault: Fault): void {
    const send = (channel: number, bytes: Buffer) => socket.send(Buffer.concat([Buffer.of(channel), bytes]), () => {});
    const number = Buffer.of(port & 255, port >> 8);
    for (const channel of [data, errors]) {
      const at = this.#chance.below(3);
      for (const part of [number.subarray(0, at), number.subarray(at)]) send(channel, part);
    }
    if (fault === 'silent after') return;
    const upstream = connect(port, '127.0.0.1').setNoDelay(true);
    let isLate = false;
    upstream.on('error', ({ message, syscall }: NodeJS.ErrnoException) => {
      // Only then has the server heard nothing.
      const what = syscall === 'connect' ? `failed to connect to localhost:${port}` : 'it broke';
      send(errors, Buffer.from(`error forwarding port ${port}: ${what}: ${message}`));
    });
    upstream.on('data', (chunk) => send(data, chunk)).once('close', () => socket.close());
    socket.on('message', (frame: Buffer) => {
      if (frame[0] !== data) this.#judge.problem(`something is written to channel ${frame[0]} of a forwarded port`);
      if (fault !== 'done later') return void upstream.write(frame.subarray(1));
      // It comes there when nobody waits for it any more.
      isLate = true;
      socket.terminate();
      this.#later(realSleep(this.#chance.one([0, 5, 40])).then(() => upstream.end(frame.subarray(1))));
    });
    socket.once('close', () => isLate || upstream.destroy());
    if (fault !== 'cut after' && fault !== 'failed after') return;
    this.#later(
      realSleep(this.#chance.one([0, 1, 5, 30])).then(() => {
        if (fault === 'failed after') send(errors, Buffer.from('lost connection to pod'));
        if (fault === 'failed after' && this.#chance.oneIn(2)) socket.close();
        else socket.terminate();
      }),
    );
  }

  #later(what: Promise<unknown>): void {
    const late: Promise<unknown> = what.finally(() => this.#late.delete(late));
    this.#late.add(late);
  }
}

/** While a pod moves from one slice to another, both have it. */
function slicesOf({ uid }: PlayedPod): string[] {
  return [`orders-${uid}`, ...(/[02468]$/.test(uid) ? [`orders-${uid}-too`] : [])];
}

function targetOf({ name, uid }: PlayedPod) {
  return { kind: 'Pod', name, uid };
}

function sliceOf(pod: PlayedPod): object {
  const conditions = { ready: pod.isReady && !pod.isLeaving, serving: pod.isReady, terminating: pod.isLeaving };
  return {
    addressType: 'IPv4',
    ports: [{ name: 'http', port: pod.port, protocol: 'TCP' }],
    endpoints: [{ addresses: ['127.0.0.1'], conditions, targetRef: targetOf(pod) }],
  };
}
