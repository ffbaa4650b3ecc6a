import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { createGateway, type Gateway, type K8sServiceSpec } from '../../src/index.js';
import { K8sServiceRuntime } from '../../src/runtimes/k8s-service.js';
import { createRuntimeContext } from '../../src/testing/context.js';
import { createCertificates } from '../fixtures/http/certificates.js';
import { settledHeap } from '../support/heap.js';
import { eventually, TestNamespace } from '../support/kubernetes/namespace.js';
import { deployPodServer } from '../support/kubernetes/pod-server.js';
import { Relay } from '../support/kubernetes/relay.js';
import { ServiceCaller } from '../support/kubernetes/service-caller.js';
import { describeWithKubernetes } from '../support/real-parts.js';

const gateways: Gateway[] = [];

describeWithKubernetes('k8s-service on a cluster', () => {
  let namespace: TestNamespace;

  beforeAll(async () => {
    namespace = await TestNamespace.create('svc');
    await deployPodServer(namespace, 'counter', { replicas: 3 });
  });
  afterAll(async () => {
    await Promise.all(gateways.map((gateway) => gateway.close({ graceMs: 0 })));
    await namespace?.[Symbol.asyncDispose]();
  });

  const spec = (more: Partial<K8sServiceSpec> = {}): K8sServiceSpec => ({
    namespace: namespace.name,
    service_name: 'counter',
    port: 80,
    ...more,
  });

  function open(more: Partial<K8sServiceSpec> = {}, runtime?: K8sServiceRuntime): Gateway {
    const gateway = createGateway(
      { servers: [{ id: 'counter', runtime: { type: 'k8s-service', ...spec(more) } }] } as never,
      { env: {}, ...(runtime && { runtimes: [runtime] }) },
    );
    gateways.push(gateway);
    return gateway;
  }

  async function connect(gateway: Gateway): Promise<ServiceCaller> {
    const caller = await ServiceCaller.connect(gateway, 'counter');
    onTestFinished(() => caller[Symbol.asyncDispose]());
    return caller;
  }

  const connectAll = async (gateway: Gateway, count: number) => {
    const callers: ServiceCaller[] = [];
    while (callers.length < count) callers.push(await connect(gateway));
    return callers;
  };
  /** How many sessions each of the three pods holds, besides those that ask. */
  const sessionsByPod = async (gateway: Gateway): Promise<Record<string, number>> => {
    const callers = await connectAll(gateway, 3);
    const ask = async (caller: ServiceCaller) => [await caller.pod(), Number(await caller.call('sessions')) - 1];
    const counts = Object.fromEntries(await Promise.all(callers.map(ask)));
    for (const caller of callers) await caller.client.close();
    await gateway.close({ graceMs: 0 });
    return counts;
  };

  test('sessions spread over the ready pods, and each stays where it began', async () => {
    const gateway = open();
    const callers = await connectAll(gateway, 6);
    const places = await Promise.all(callers.map((caller) => caller.pod()));
    const perPod = Map.groupBy(places, (pod) => pod);
    expect([...perPod.values()].map((on) => on.length)).toEqual([2, 2, 2]);

    // Many at once, so that they go over several connections.
    for (const [index, caller] of callers.entries()) {
      const counts = await Promise.all(Array.from({ length: 10 }, () => caller.call('count')));
      expect(counts.map(Number).sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      expect(await caller.pod()).toBe(places[index]);
    }
  });

  test.each(['sse', 'auto'] as const)(
    'HTTP+SSE (%s): what is posted goes to the pod that has the stream',
    async (transport) => {
      const gateway = open({ path: '/sse', transport });
      const callers = await connectAll(gateway, 6);
      for (const [index, caller] of callers.entries()) {
        const texts = Array.from({ length: 10 }, (_, call) => `caller ${index}, call ${call}`);
        expect(await Promise.all(texts.map((text) => caller.call('echo', { text })))).toEqual(texts);
      }
      await Promise.all(callers.map((caller) => caller.client.close()));
      expect(callers.map(({ errors }) => errors)).toEqual(callers.map(() => []));
    },
  );

  test.each(['http', 'other', 80, 81, '80'])('a port is found by its name or number: %s', async (port) => {
    const caller = await connect(open({ port }));
    expect(await caller.call('echo', { text: 'hello' })).toBe('hello');
  });

  test('large answers, progress and concurrent calls arrive through the API server', async () => {
    const caller = await connect(open());
    const steps: number[] = [];
    const [large, small] = await Promise.all([
      caller.call('large', { bytes: 8 * 1024 * 1024 }),
      caller.call('echo', { text: 'small' }),
      caller.client.callTool({ name: 'progress', arguments: { steps: 5 } }, undefined, {
        onprogress: ({ progress }) => void steps.push(progress),
      }),
    ]);
    expect(large.length).toBe(8 * 1024 * 1024);
    expect(small).toBe('small');
    expect(steps).toEqual([1, 2, 3, 4, 5]);
    expect((await caller.call('echo', { text: 'y'.repeat(3 * 1024 * 1024) })).length).toBe(3 * 1024 * 1024);
  });

  test('a pod that is deleted ends its own sessions alone, after the requests that it had', async () => {
    const gateway = open();
    const callers = await connectAll(gateway, 3);
    const places = await Promise.all(callers.map((caller) => caller.pod()));
    const [victim] = callers as [ServiceCaller];
    const calls = await Promise.all(callers.map((caller) => caller.wait(1000)));
    await namespace.delete('Pod', places[0] as string);

    expect(await Promise.all(calls.map(({ outcome }) => outcome))).toEqual(['waited', 'waited', 'waited']);
    await victim.closed;
    expect(victim.closes).toBe(1);
    expect(victim.loss?.message).toContain(`the session was lost with pod "${places[0]}"`);
    for (const other of callers.slice(1)) {
      expect(await other.call('count')).toBe('1');
      expect(other.errors).toEqual([]);
    }
    const next = await connect(gateway);
    expect(await next.pod()).not.toBe(places[0]);
    await namespace.readyPods('counter', 3);
  });

  test('a pod that is killed with requests in flight answers each of them once', async () => {
    const gateway = open();
    const caller = await connect(gateway);
    const pod = await caller.pod();
    const calls = await Promise.all(Array.from({ length: 5 }, () => caller.wait(60_000)));
    await namespace.delete('Pod', pod, 0);
    for (const { outcome } of calls) {
      expect(await outcome).toMatchObject({ data: { delivered: 'unknown', server: 'counter' } });
    }
    await caller.closed;
    expect(caller.closes).toBe(1);
    expect(caller.loss?.message).toContain(pod);
    await namespace.readyPods('counter', 3);
  });

  test('pods that are added get new sessions; a rolling update ends the sessions on the old ones, one by one', async () => {
    const gateway = open();
    const before = await connectAll(gateway, 3);
    const old = new Set(await Promise.all(before.map((caller) => caller.pod())));
    expect(old.size).toBe(3);

    await namespace.patch({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'counter' },
      spec: { replicas: 4 },
    });
    await namespace.readyPods('counter', 4);
    const added = await eventually('a session on the new pod', async () => {
      const caller = await connect(gateway);
      return old.has(await caller.pod()) ? undefined : caller;
    });
    expect(await added.call('count')).toBe('1');

    await namespace.patch({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'counter' },
      spec: { replicas: 3, template: { metadata: { annotations: { restarted: 'now' } } } },
    });
    for (const caller of [...before, added]) {
      await caller.closed;
      expect(caller.closes).toBe(1);
      expect(caller.loss).toMatchObject({ server: 'counter' });
    }
    const pods = await namespace.readyPods('counter', 3);
    const fresh = await connect(gateway);
    expect(pods.map(({ metadata }) => metadata.name)).toContain(await fresh.pod());
  }, 240_000);

  test('connections to the API server that are cut fail what they carry, each once, and end no session', async () => {
    await using relay = await Relay.listen();
    const runtime = new K8sServiceRuntime({ kubeconfig: relay.kubeconfig });
    const gateway = open({}, runtime);
    const callers = await connectAll(gateway, 3);
    const places = await Promise.all(callers.map((caller) => caller.pod()));
    for (let round = 1; round <= 5; round++) {
      const calls = await Promise.all(callers.flatMap((caller) => [1, 2, 3, 4].map(() => caller.wait(60_000))));
      await Promise.all(callers.map((caller) => caller.call('count')));
      relay.cut();
      for (const { outcome } of calls) expect(await outcome).toMatchObject({ data: { delivered: 'unknown' } });
      for (const [index, caller] of callers.entries()) {
        const pod = await eventually('an answer after the cut', () => caller.pod().catch(() => undefined));
        expect(pod).toBe(places[index]);
        expect(Number(await caller.call('count'))).toBeGreaterThan(round);
        expect(caller.closes).toBe(0);
      }
    }
  });

  test('a server without sessions is bound to no pod', async () => {
    const caller = await connect(open({ path: '/stateless' }));
    const pod = await caller.pod();
    await namespace.delete('Pod', pod, 0);
    const next = await eventually('an answer of another pod', async () => {
      const place = await caller.pod().catch(() => pod);
      return place === pod ? undefined : place;
    });
    expect(next).not.toBe(pod);
    expect(caller.closes).toBe(0);
    await namespace.readyPods('counter', 3);
  });

  test('what is missing is said by name', async () => {
    const runtime = new K8sServiceRuntime({ readyTimeoutMs: 200 });
    onTestFinished(() => runtime.close());
    const context = createRuntimeContext({ server: 'orders' });
    const failure = (more: Partial<K8sServiceSpec>) =>
      runtime.open(spec(more), context).then(
        () => 'opened',
        (error: Error) => error.message,
      );
    const ns = namespace.name;
    expect(await failure({ service_name: 'nothing' })).toContain(
      `"orders": cannot get services "nothing" in namespace "${ns}": it is not there (404)`,
    );
    expect(await failure({ port: 8080 })).toBe(
      `"orders": service "counter" in namespace "${ns}" has no port 8080; it has 80 (http), 81 (other), 82 (nobody)`,
    );
    expect(await failure({ context: 'elsewhere' })).toContain('the kubeconfig has no context "elsewhere"');
    await namespace.create({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'empty' },
      spec: { selector: { app: 'no-such' }, ports: [{ port: 80 }] },
    });
    expect(await failure({ service_name: 'empty' })).toContain(
      `"orders": service "empty" in namespace "${ns}" has no pods: does its selector match some, and do they run?`,
    );
    await namespace.create({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'outside' },
      spec: { type: 'ExternalName', externalName: 'mcp.example.com', ports: [{ port: 80 }] },
    });
    expect(await failure({ service_name: 'outside' })).toBe(
      `"orders": service "outside" in namespace "${ns}" has no pods: it is a name for mcp.example.com; ` +
        'give its URL to a runtime of type remote-sse',
    );
  });

  test('a port where no pod listens is said at the first message, which was not delivered', async () => {
    const failure = await connect(open({ port: 82 })).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toMatchObject({
      message: expect.stringMatching(/nobody listens on port 9 of pod "counter-.*" in namespace/),
      data: { delivered: false },
    });
  });

  test('TLS with a pod is checked for the name of the service', async () => {
    await using certificates = await createCertificates();
    const pair = await certificates.signFor(`DNS:secure.${namespace.name}.svc`);
    await deployPodServer(namespace, 'secure', { env: { TLS_CERT: pair.cert, TLS_KEY: pair.key } });
    const refused = connect(open({ service_name: 'secure', scheme: 'https' }));
    await expect(refused).rejects.toThrow(/TLS: the authority that signed the certificate of secure\..*\.svc/);
    const runtime = new K8sServiceRuntime({ tls: { ca: certificates.ca } });
    const caller = await connect(open({ service_name: 'secure', scheme: 'https' }, runtime));
    expect(await caller.call('count')).toBe('1');
    expect(await caller.call('count')).toBe('2');
    await namespace.create({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'misnamed' },
      spec: { selector: { app: 'secure' }, ports: [{ port: 80, targetPort: 'web' }] },
    });
    const misnamed = connect(open({ service_name: 'misnamed', scheme: 'https' }, runtime));
    await expect(misnamed).rejects.toThrow(/TLS: the certificate of misnamed\..*\.svc:80 is not for misnamed\..*\.svc/);
  });

  test('headers arrive, and show nowhere else', async () => {
    const secret = 'canary-8c1f5e';
    const events: unknown[] = [];
    const runtime = { type: 'k8s-service', ...spec(), headers: { authorization: 'Bearer ${TOKEN}' } } as const;
    const gateway = createGateway(
      {
        servers: [
          { id: 'counter', runtime },
          { id: 'private', runtime: { ...runtime, path: '/private' } },
        ],
      },
      { env: { TOKEN: secret }, onEvent: (event) => void events.push(event) },
    );
    gateways.push(gateway);
    const caller = await connect(gateway);
    expect(JSON.parse(await caller.call('headers'))).toMatchObject({
      authorization: `Bearer ${secret}`,
      host: `counter.${namespace.name}.svc`,
    });
    const refused = await ServiceCaller.connect(gateway, 'private').catch((error: Error) => error);
    expect(refused).toMatchObject({ message: expect.stringContaining('set headers.Authorization') });
    const check = await gateway.check();
    const shown = JSON.stringify([events, gateway.status('counter'), gateway.describe('counter'), check, `${refused}`]);
    expect(shown).not.toContain(secret);
  });

  test('check() finds what open() would', async () => {
    const runtime = new K8sServiceRuntime({ readyTimeoutMs: 200 });
    onTestFinished(() => runtime.close());
    const check = async (more: Partial<K8sServiceSpec>) => {
      const { ok, problems } = await runtime.check(spec(more), createRuntimeContext());
      expect(ok).toBe(problems.length === 0);
      return problems.join('; ');
    };
    expect(await check({})).toBe('');
    expect(await check({ port: 'web' })).toContain('has no port web; it has 80 (http)');
    expect(await check({ service_name: 'nothing' })).toContain('cannot get services "nothing"');
    expect(await check({ port: 82 })).toContain('nobody listens on port 9');
    expect(await check({ path: '/private' })).toContain('asks for authorization');
  });

  test('opens and closes leave nothing behind', async () => {
    const count = process.env.TEST_LONG === '1' ? 1000 : 200;
    // Sessions of tests that cut connections stay where they were.
    const before = await sessionsByPod(open());
    expect(Object.keys(before)).toHaveLength(3);
    const gateway = open();
    const used: number[] = [];
    const handles = () => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;
    const once = async () => {
      const caller = await ServiceCaller.connect(gateway, 'counter');
      expect(await caller.call('count')).toBe('1');
      await caller.client.close();
    };
    for (let round = 0; round < 4; round++) {
      for (let left = count / 4; left > 0; left -= 5) await Promise.all(Array.from({ length: 5 }, once));
      used.push(await settledHeap());
    }
    // What the first rounds load and compile is there for good.
    expect((used[3] as number) - (used[1] as number)).toBeLessThan(8 * 1024 * 1024);
    await gateway.close({ graceMs: 0 });
    await eventually('the end of every session', async () => {
      const after = await sessionsByPod(open());
      return Object.entries(after).every(([pod, sessions]) => sessions <= (before[pod] ?? 0)) ? true : undefined;
    });
    for (const one of gateways) await one.close({ graceMs: 0 });
    await eventually('the end of every connection', async () => (handles() <= 2 ? true : undefined));
  }, 300_000);
});
