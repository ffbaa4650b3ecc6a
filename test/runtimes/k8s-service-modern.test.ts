// What API servers of today do and that of the test cluster does not: EndpointSlices v1 with terminating pods, `create` for
// port-forward. And the faults that a real one does not show on demand.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { WebSocket } from 'ws';
import { createGateway, type Gateway, K8sServiceRuntime } from '../../src/index.js';
import { createRuntimeContext } from '../../src/testing/context.js';
import { TestCaller } from '../endpoint/test-caller.js';
import { handleStreamable } from '../fixtures/http/reference-hosts.js';
import { settle } from '../support/fake-clock.js';
import { FakeApiServer, sendJson } from '../support/kubernetes/fake-api-server.js';
import { eventually } from '../support/kubernetes/namespace.js';
import { ServiceCaller } from '../support/kubernetes/service-caller.js';

const spec = { namespace: 'mcp', service_name: 'orders', port: 80, reach: 'port-forward' } as const;
const slicesPath = '/apis/discovery.k8s.io/v1/namespaces/mcp/endpointslices';

/** As the kubelet says it of a port where nobody listens. */
const refusal =
  'error forwarding port 8080 to pod a, uid : failed to connect to localhost:8080 inside namespace "x", IPv4: dial tcp4 127.0.0.1:8080: connect: connection refused';

interface FakeEndpoint {
  readonly name: string;
  readonly ready?: boolean;
  readonly terminating?: boolean;
}

/** A fake API server with one service, whose pods are all served by one server of this process. */
class Cluster implements AsyncDisposable {
  readonly api: FakeApiServer;
  /** The sockets of port-forwards, by pod. */
  readonly forwards = new Map<string, Set<WebSocket>>();
  /** What a port-forward to a pod says instead of carrying bytes. */
  readonly refusals = new Map<string, string>();
  missing: (path: string) => boolean = () => false;
  #endpoints: readonly FakeEndpoint[] = [];
  #version = 1;
  readonly #watches = new Set<ServerResponse>();
  /** Asked to end a session; without it the server does so at once. */
  onEnd: ((response: ServerResponse) => void) | undefined;
  readonly #serve = handleStreamable();
  readonly #server = createServer((request, response) => {
    if (request.method === 'DELETE' && this.onEnd !== undefined) this.onEnd(response);
    else this.#serve(request, response);
  });

  private constructor(api: FakeApiServer) {
    this.api = api;
  }

  static async listen(endpoints: readonly FakeEndpoint[]): Promise<Cluster> {
    const made = new Cluster(await FakeApiServer.listen());
    made.#endpoints = endpoints;
    await new Promise<void>((resolve) => made.#server.listen(0, '127.0.0.1', resolve));
    made.api.answer = (request, response) => made.#answer(request, response);
    made.api.takeProtocol = (offered) => (offered.has('v4.channel.k8s.io') ? 'v4.channel.k8s.io' : false);
    made.api.connected = (socket) => made.#forward(socket);
    onTestFinished(() => made[Symbol.asyncDispose]());
    return made;
  }

  gateway(reach: 'dns' | 'port-forward' = 'port-forward'): Gateway {
    const runtime = new K8sServiceRuntime({ kubeconfig: this.api.kubeconfig, readyTimeoutMs: 300 });
    const servers = [{ id: 'orders', runtime: { type: 'k8s-service', ...spec, reach } }];
    const gateway = createGateway({ servers } as never, { runtimes: [runtime], env: {} });
    onTestFinished(() => gateway.close({ graceMs: 0 }));
    return gateway;
  }

  /** What the service has from now on; those who watch are told. */
  set(endpoints: readonly FakeEndpoint[]): void {
    this.#endpoints = endpoints;
    this.#version += 1;
    for (const watch of this.#watches) watch.write(`${JSON.stringify({ type: 'MODIFIED', object: this.#slice() })}\n`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.api[Symbol.asyncDispose]();
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #slice() {
    const endpoints = this.#endpoints.map(({ name, ready = true, terminating = false }) => ({
      addresses: ['127.0.0.1'],
      conditions: { ready, serving: true, terminating },
      targetRef: { kind: 'Pod', name, uid: `uid-${name}` },
    }));
    const metadata = { name: 'orders-abc', uid: 'slice', resourceVersion: String(this.#version) };
    return { metadata, addressType: 'IPv4', ports: [{ name: '', port: 8080, protocol: 'TCP' }], endpoints };
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', 'http://api');
    if (this.missing(url.pathname)) return sendJson(response, 404, { message: 'the server could not find it' });
    if (url.pathname === '/api/v1/namespaces/mcp/services/orders') {
      const metadata = { name: 'orders', uid: 'service' };
      return sendJson(response, 200, { metadata, spec: { ports: [{ port: 80, protocol: 'TCP' }] } });
    }
    if (url.pathname.endsWith('/endpoints')) {
      const subsets = [
        {
          addresses: [{ ip: '127.0.0.1', targetRef: { kind: 'Pod', name: 'a', uid: 'uid-a' } }],
          ports: [{ port: 8080 }],
        },
      ];
      return this.#list(url, response, { metadata: { name: 'orders', uid: 'e', resourceVersion: '1' }, subsets });
    }
    if (url.pathname.endsWith('/endpointslices')) return this.#list(url, response, this.#slice());
    sendJson(response, 404, { message: 'nothing here' });
  }

  #list(url: URL, response: ServerResponse, item: object): void {
    if (url.searchParams.get('watch') === null) {
      return sendJson(response, 200, { metadata: { resourceVersion: String(this.#version) }, items: [item] });
    }
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    this.#watches.add(response);
    // What has changed since the version that the client knows.
    if (url.searchParams.get('resourceVersion') !== String(this.#version)) {
      response.write(`${JSON.stringify({ type: 'MODIFIED', object: item })}\n`);
    }
    response.once('close', () => this.#watches.delete(response));
  }

  /** As the kubelet does it: the port's number on both channels, then bytes. */
  #forward(socket: WebSocket): void {
    const path = this.api.requests.findLast((request) => request.includes('/portforward')) ?? '';
    const pod = /\/pods\/([^/]+)\/portforward\?ports=8080$/.exec(path)?.[1] ?? '?';
    const all = this.forwards.get(pod) ?? new Set();
    this.forwards.set(pod, all.add(socket));
    socket.once('close', () => all.delete(socket));
    // The number in two pieces, as the network may cut it.
    for (const frame of [
      [0, 0x90],
      [1, 0x90, 0x1f],
      [0, 0x1f],
    ])
      socket.send(Buffer.from(frame));
    const refusal = this.refusals.get(pod);
    if (refusal !== undefined) {
      socket.send(Buffer.concat([Buffer.of(1), Buffer.from(refusal)]));
      socket.close();
      return;
    }
    const upstream = connect((this.#server.address() as AddressInfo).port, '127.0.0.1');
    upstream.on('data', (chunk) => socket.send(Buffer.concat([Buffer.of(0), chunk])));
    upstream.on('error', () => {}).once('close', () => socket.close());
    socket.on('message', (data) => upstream.write((data as Buffer).subarray(1)));
    socket.once('close', () => upstream.destroy());
  }
}

async function connectTo(gateway: Gateway): Promise<ServiceCaller> {
  const caller = await ServiceCaller.connect(gateway, 'orders');
  onTestFinished(() => caller[Symbol.asyncDispose]());
  return caller;
}

/** Which pod has connections. */
const busy = ({ forwards }: Cluster) => [...forwards].filter(([, sockets]) => sockets.size > 0).map(([pod]) => pod);

describe('with EndpointSlices v1', () => {
  test('a pod that terminates ends its sessions, although it is listed for as long as it runs', async () => {
    const cluster = await Cluster.listen([{ name: 'a' }, { name: 'b', ready: false }]);
    const gateway = cluster.gateway();
    const caller = await connectTo(gateway);
    expect(busy(cluster)).toEqual(['a']);

    cluster.set([{ name: 'a', ready: false }, { name: 'b' }]);
    const second = await eventually('a session on b', async () => {
      const next = await connectTo(gateway);
      return busy(cluster).includes('b') ? next : undefined;
    });
    // It may become ready again: its sessions stay.
    expect(await caller.call('echo', { text: 'not ready' })).toBe('not ready');

    cluster.set([{ name: 'a', ready: false, terminating: true }, { name: 'b' }]);
    await caller.closed;
    expect(caller.loss?.message).toContain('the session was lost with pod "a" of service "orders" in namespace "mcp"');
    expect(await second.call('echo', { text: 'b' })).toBe('b');
    expect(cluster.api.requests.filter((request) => request.includes('v1beta1'))).toEqual([]);
    expect(cluster.api.requests).toContain(`GET ${slicesPath}?labelSelector=kubernetes.io/service-name=orders`);
  });

  test('an API server that is away ends no session; what changed meanwhile is seen afterwards', async () => {
    const cluster = await Cluster.listen([{ name: 'a' }]);
    const caller = await connectTo(cluster.gateway());
    cluster.api.cut();
    await eventually('an answer after the cut', () => caller.call('echo', { text: 'x' }).catch(() => undefined));
    expect(caller.closes).toBe(0);
    cluster.set([{ name: 'a', terminating: true }]);
    await caller.closed;
    expect(caller.closes).toBe(1);
  });
});

test('a call of the merged peer that comes while the session with a pod that has gone ends goes to the next', async () => {
  const cluster = await Cluster.listen([{ name: 'a' }, { name: 'b', ready: false }]);
  const caller = await TestCaller.open(cluster.gateway().connect());
  onTestFinished(() => caller.close());
  const call = (text: string) => caller.result('tools/call', { name: 'orders__echo', arguments: { text } });
  await call('first');

  const asked = new Promise<ServerResponse>((resolve) => {
    cluster.onEnd = resolve;
  });
  cluster.set([{ name: 'b' }]);
  const ending = await asked;
  const called = call('second');
  await settle();
  ending.end();
  expect(await called).toMatchObject({ content: [{ text: 'second' }] });
  expect(busy(cluster)).toEqual(['b']);
});

test('a call that meets a server which is restarted in its pod goes to another pod', async () => {
  const cluster = await Cluster.listen([{ name: 'a' }, { name: 'b', ready: false }]);
  const gateway = cluster.gateway();
  const caller = await TestCaller.open(gateway.connect());
  onTestFinished(() => caller.close());
  const call = (text: string) => caller.result('tools/call', { name: 'orders__echo', arguments: { text } });
  await call('first');
  cluster.set([{ name: 'a', ready: false }, { name: 'b' }]);
  await eventually('a session on b', async () => {
    await connectTo(gateway);
    return busy(cluster).includes('b') || undefined;
  });
  cluster.refusals.set('a', refusal);
  for (const socket of cluster.forwards.get('a') ?? []) socket.close();
  await eventually('the end of the connections', async () => !busy(cluster).includes('a') || undefined);
  await settle();
  expect(await call('second')).toMatchObject({ content: [{ text: 'second' }] });
});

test.each([
  ['v1beta1', (path: string) => path.includes('/discovery.k8s.io/v1/'), '/apis/discovery.k8s.io/v1beta1/'],
  ['core/v1 Endpoints', (path: string) => path.includes('/discovery.k8s.io/'), '/api/v1/namespaces/mcp/endpoints'],
])('where there are no EndpointSlices v1: %s', async (_, missing, asked) => {
  const cluster = await Cluster.listen([{ name: 'a' }]);
  cluster.missing = missing;
  const caller = await connectTo(cluster.gateway());
  expect(await caller.call('echo', { text: 'fine' })).toBe('fine');
  expect(cluster.api.requests.some((request) => request.includes(asked))).toBe(true);
});

test('a pod that has gone before the watch tells', async () => {
  const cluster = await Cluster.listen([{ name: 'a' }]);
  const gateway = cluster.gateway();
  cluster.api.refuseUpgrade = { status: 404, body: '{"message":"pods \\"a\\" not found"}' };
  await expect(ServiceCaller.connect(gateway, 'orders')).rejects.toThrow(/cannot get pods\/portforward "a".*not there/);
});

test('the only pod has gone before the watch tells: open() waits for the next one', async () => {
  const cluster = await Cluster.listen([{ name: 'a' }]);
  const gateway = cluster.gateway();
  cluster.api.refuseUpgrade = { status: 404, body: '{"message":"pods \\"a\\" not found"}' };
  const connecting = connectTo(gateway);
  const asked = () => cluster.api.requests.some((one) => one.includes('/pods/a/portforward')) || undefined;
  await eventually('a try with the pod that has gone', async () => asked());
  cluster.api.refuseUpgrade = undefined;
  cluster.set([{ name: 'b' }]);
  expect(await (await connecting).call('echo', { text: 'fine' })).toBe('fine');
  expect(busy(cluster)).toEqual(['b']);
});

test('without the verb that newer API servers ask for, the error names it', async () => {
  const cluster = await Cluster.listen([{ name: 'a' }]);
  // As they say it: without the verb.
  cluster.api.refuseUpgrade = { status: 403, body: JSON.stringify({ message: 'pods "a" is forbidden: ' }) };
  const expected = /may not create pods\/portforward "a" in namespace "mcp" \(403\): .*grant it, as in the Role/;
  await expect(ServiceCaller.connect(cluster.gateway(), 'orders')).rejects.toThrow(expected);
});

test('a pod where nobody listens: the message was not delivered', async () => {
  const cluster = await Cluster.listen([{ name: 'a' }]);
  cluster.refusals.set('a', refusal);
  await expect(ServiceCaller.connect(cluster.gateway(), 'orders')).rejects.toMatchObject({
    message: expect.stringContaining(
      'nobody listens on port 8080 of pod "a" in namespace "mcp": error forwarding port',
    ),
    data: { delivered: false },
  });
});

test('a pod that cannot be reached within the cluster is named, and no proxy', async () => {
  const cluster = await Cluster.listen([{ name: 'a' }]);
  const failed = ServiceCaller.connect(cluster.gateway('dns'), 'orders');
  await expect(failed).rejects.toMatchObject({
    message: expect.stringMatching(
      /: pod "a" cannot be reached: nobody listens at 127\.0\.0\.1:8080; does the server run/,
    ),
    code: 'START_FAILED',
    delivered: false,
  });
});

/** What an API server in trouble does. */
const troubles: [string, (response: ServerResponse) => void][] = [
  ['answers with 500', (response) => sendJson(response, 500, { message: 'etcdserver: leader changed' })],
  ['answers with 429', (response) => sendJson(response, 429, { message: 'too many requests' })],
  ['cuts the connection', (response) => response.destroy()],
];

function failFor(cluster: Cluster, number: number, fail: (response: ServerResponse) => void): void {
  const { answer } = cluster.api;
  let asked = 0;
  cluster.api.answer = (request, response) => {
    asked += request.url?.endsWith('/services/orders') ? 1 : 0;
    if (asked === number) fail(response);
    else answer(request, response);
  };
}

describe.each(troubles)('an API server that %s when it is asked for the service', (_, fail) => {
  // Behind the one address of a service each connection may come to another pod: sessions with several replicas end there.
  test('within the cluster is asked again, and DNS is not', async () => {
    const cluster = await Cluster.listen([{ name: 'a' }]);
    failFor(cluster, 1, fail);
    await expect(ServiceCaller.connect(cluster.gateway('dns'), 'orders')).rejects.toThrow(
      'pod "a" cannot be reached: nobody listens at 127.0.0.1:8080',
    );
  });

  test('while no pod is ready fails no start', async () => {
    const cluster = await Cluster.listen([{ name: 'a', ready: false }]);
    const runtime = new K8sServiceRuntime({ kubeconfig: cluster.api.kubeconfig, readyTimeoutMs: 30_000 });
    onTestFinished(() => runtime.close());
    failFor(cluster, 2, (response) => {
      fail(response);
      cluster.set([{ name: 'a' }]);
    });
    const transport = await runtime.open(spec, createRuntimeContext());
    await transport.close();
  });
});

// Many servers answer nothing before it, and have no stream for what belongs to no request.
describe('a connection that is cut as notifications/initialized is sent', () => {
  const cutOnce = async () => {
    const cluster = await Cluster.listen([{ name: 'a' }]);
    const { connected } = cluster.api;
    let cuts = 0;
    cluster.api.connected = (socket) => {
      socket.on('message', (data) => {
        if (cuts > 0 || !String(data).includes('notifications/initialized')) return;
        cuts += 1;
        socket.terminate();
      });
      connected(socket);
    };
    return cluster.gateway();
  };
  const said = expect.stringContaining('POST notifications/initialized got no whole answer');

  test('fails the connect of a client', async () => {
    const failed = ServiceCaller.connect(await cutOnce(), 'orders');
    await expect(failed).rejects.toMatchObject({ code: 'CONNECTION_FAILED', message: said });
  });

  test('fails the call of the merged peer that waits for it, and not the next one', async () => {
    const caller = await TestCaller.open((await cutOnce()).connect());
    onTestFinished(() => caller.close());
    const call = { name: 'orders__echo', arguments: { text: 'again' } };
    const error = await caller.error('tools/call', call);
    expect(error).toMatchObject({ message: said, data: { code: 'CONNECTION_FAILED', delivered: false } });
    expect(await caller.result('tools/call', call)).toMatchObject({ content: [{ text: 'again' }] });
  });
});

test('an API server that is away while a session lasts is named, and no proxy', async () => {
  const cluster = await Cluster.listen([{ name: 'a' }]);
  const caller = await connectTo(cluster.gateway());
  await cluster.api[Symbol.asyncDispose]();
  await expect(caller.call('echo')).rejects.toMatchObject({
    message: expect.stringMatching(
      /: the API server http:\/\/127\.0\.0\.1:\d+ cannot be reached: nobody listens there/,
    ),
    data: { delivered: false },
  });
});

test('no pod that is ready: open() waits, then names those that are not', async () => {
  const cluster = await Cluster.listen([
    { name: 'a', ready: false },
    { name: 'b', terminating: true },
  ]);
  const runtime = new K8sServiceRuntime({ kubeconfig: cluster.api.kubeconfig, readyTimeoutMs: 300 });
  onTestFinished(() => runtime.close());
  const context = createRuntimeContext({ server: 'orders' });
  await expect(runtime.open(spec, context)).rejects.toThrow(
    '"orders": service "orders" in namespace "mcp" has no ready pod: a is not ready, b is being shut down; waited 300 ms',
  );
  const opening = new K8sServiceRuntime({ kubeconfig: cluster.api.kubeconfig, readyTimeoutMs: 30_000 });
  onTestFinished(() => opening.close());
  const opened = opening.open(spec, context);
  await eventually(
    'the watch',
    async () => cluster.api.requests.some((one) => one.includes('watch=true')) || undefined,
  );
  cluster.set([{ name: 'a' }]);
  await (await opened).close();
});

test('a reader that does not read holds the pod back, and memory stays flat', async () => {
  const { forwardPort } = await import('../../src/runtimes/k8s-service/forwarded-port.js');
  const { Clusters } = await import('../../src/runtimes/shared/kubernetes/clusters.js');
  await using api = await FakeApiServer.listen();
  const chunk = Buffer.alloc(64 * 1024, 1);
  let sent = 0;
  const total = 512;
  api.connected = (socket) => {
    socket.send(Buffer.from([0, 0x90, 0x1f]));
    const push = () => {
      sent += 1;
      socket.send(Buffer.concat([Buffer.of(0), chunk]), () => (sent < total ? push() : socket.close()));
    };
    push();
  };
  const clusters = new Clusters({ kubeconfig: api.kubeconfig });
  onTestFinished(() => clusters.close());
  const target = { namespace: 'mcp', pod: 'a', port: 8080 };
  const stream = await forwardPort(await clusters.open(), target, new AbortController().signal);
  stream.read(0);
  // It stops by itself; what is on its way fits into buffers.
  let before = -1;
  await eventually('a sender that waits', async () => {
    const still = sent > 0 && sent === before;
    before = sent;
    await new Promise((resolve) => setTimeout(resolve, 100));
    return still || undefined;
  });
  expect(sent).toBeLessThan(total / 2);
  let bytes = 0;
  for await (const part of stream) bytes += (part as Buffer).length;
  expect(bytes).toBe(total * chunk.length);
});

test('a port-forward that the API server does not answer ends with close() of the gateway', async () => {
  const cluster = await Cluster.listen([{ name: 'a' }]);
  const gateway = cluster.gateway();
  const caller = await connectTo(gateway);
  // Leaves connections to the API server that are kept.
  await gateway.check();
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  cluster.api.upgrading = (socket) => {
    socket.resume().once('end', () => socket.destroy());
    resolve();
    return false;
  };
  // One waits for an answer, the other for a connection.
  const calls = Promise.allSettled([caller.call('never'), caller.call('never')]);
  await asked;
  await gateway.close({ graceMs: 0 });
  // Less than a connection may take to come about.
  await eventually('the end of all connections', async () => cluster.api.connections === 0 || undefined, 8_000);
  await calls;
});
