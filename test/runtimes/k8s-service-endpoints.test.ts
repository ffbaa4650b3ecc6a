import { describe, expect, test } from 'vitest';
import {
  type EndpointSlice,
  type Endpoints,
  findPort,
  fromEndpoints,
  fromSlices,
  type Service,
  showPorts,
} from '../../src/runtimes/k8s-service/endpoints.js';
import { k8sServiceSpec, portNumber } from '../../src/runtimes/k8s-service/spec.js';
import { EndpointsWatch } from '../../src/runtimes/k8s-service/watch-endpoints.js';
import type { Cluster, WatchOptions } from '../../src/runtimes/shared/kubernetes/cluster.js';
import { KubernetesError } from '../../src/runtimes/shared/kubernetes/kubernetes-error.js';
import { FakeClock } from '../support/fake-clock.js';

const metadata = { name: 'a', uid: 'u' };

function slice(more: Partial<EndpointSlice>): EndpointSlice {
  return { metadata, addressType: 'IPv4', ports: [{ name: 'http', port: 8080, protocol: 'TCP' }], ...more };
}

const pod = (name: string, uid = `uid-${name}`) => ({ kind: 'Pod', name, uid });
const states = (slices: EndpointSlice[], port = 'http') =>
  fromSlices(slices, port).map(({ pod: name, address, port: at, ready, leaving }) => ({
    place: `${name ?? '-'} ${address}:${at}`,
    state: leaving ? 'leaving' : ready ? 'ready' : 'not ready',
  }));

describe('the endpoints in EndpointSlices', () => {
  test('conditions: what is unknown counts as ready, what terminates never does', () => {
    const endpoints = [
      { addresses: ['10.0.0.1'], targetRef: pod('a'), conditions: { ready: true, serving: true, terminating: false } },
      { addresses: ['10.0.0.2'], targetRef: pod('b'), conditions: { ready: false } },
      { addresses: ['10.0.0.3'], targetRef: pod('c') },
      { addresses: ['10.0.0.4'], targetRef: pod('d'), conditions: { ready: null } },
      { addresses: ['10.0.0.5'], targetRef: pod('e'), conditions: { ready: false, serving: true, terminating: true } },
      // Of a service that publishes addresses that are not ready.
      { addresses: ['10.0.0.6'], targetRef: pod('f'), conditions: { ready: true, terminating: true } },
      { addresses: [], targetRef: pod('g') },
    ];
    expect(states([slice({ endpoints })])).toEqual([
      { place: 'a 10.0.0.1:8080', state: 'ready' },
      { place: 'b 10.0.0.2:8080', state: 'not ready' },
      { place: 'c 10.0.0.3:8080', state: 'ready' },
      { place: 'd 10.0.0.4:8080', state: 'ready' },
      { place: 'e 10.0.0.5:8080', state: 'leaving' },
      { place: 'f 10.0.0.6:8080', state: 'leaving' },
    ]);
  });

  test('each pod once, over several slices and both families of addresses', () => {
    const slices = [
      slice({ addressType: 'IPv6', endpoints: [{ addresses: ['fd00::1'], targetRef: pod('a') }] }),
      slice({ endpoints: [{ addresses: ['10.0.0.1'], targetRef: pod('a') }] }),
      slice({ endpoints: [{ addresses: ['10.0.0.2'], targetRef: pod('b'), conditions: { ready: false } }] }),
      slice({ endpoints: [{ addresses: ['10.0.0.2'], targetRef: pod('b'), conditions: { ready: true } }] }),
      slice({ addressType: 'FQDN', endpoints: [{ addresses: ['example.com'] }] }),
      slice({ endpoints: null }),
      slice({ ports: null, endpoints: [{ addresses: ['10.0.0.9'], targetRef: pod('z') }] }),
    ];
    expect(states(slices)).toEqual([
      { place: 'a 10.0.0.1:8080', state: 'ready' },
      { place: 'b 10.0.0.2:8080', state: 'ready' },
    ]);
  });

  test('pods that name their port differently have the number of their own', () => {
    const slices = [
      slice({ ports: [{ name: 'http', port: 8080 }], endpoints: [{ addresses: ['10.0.0.1'], targetRef: pod('a') }] }),
      slice({
        ports: [
          { name: 'dns', port: 53, protocol: 'UDP' },
          { name: 'http', port: 9090 },
        ],
        endpoints: [{ addresses: ['10.0.0.2'], targetRef: pod('b') }],
      }),
    ];
    expect(states(slices).map(({ place }) => place)).toEqual(['a 10.0.0.1:8080', 'b 10.0.0.2:9090']);
    expect(states(slices, 'dns')).toEqual([]);
    // A service with one port need not name it.
    const unnamed = slice({
      ports: [{ name: '', port: 80 }],
      endpoints: [{ addresses: ['10.0.0.3'], targetRef: pod('c') }],
    });
    expect(states([unnamed], '').map(({ place }) => place)).toEqual(['c 10.0.0.3:80']);
  });

  test('a pod that takes the name of another is another', () => {
    const of = (uid: string) => slice({ endpoints: [{ addresses: ['10.0.0.1'], targetRef: pod('db-0', uid) }] });
    expect(fromSlices([of('one')], 'http')[0]?.key).not.toBe(fromSlices([of('two')], 'http')[0]?.key);
  });

  test('an address that is no pod has no name to forward to', () => {
    const [endpoint] = fromSlices([slice({ endpoints: [{ addresses: ['192.0.2.1'] }] })], 'http');
    expect(endpoint).toMatchObject({ pod: undefined, address: '192.0.2.1', ready: true });
  });
});

test('the endpoints in core/v1 Endpoints', () => {
  const all: Endpoints[] = [
    {
      metadata,
      subsets: [
        {
          addresses: [{ ip: '10.0.0.1', targetRef: pod('a') }],
          notReadyAddresses: [{ ip: '10.0.0.2', targetRef: pod('b') }],
          ports: [{ name: 'http', port: 8080 }],
        },
        { addresses: [{ ip: '10.0.0.3', targetRef: pod('c') }], ports: [{ name: 'other', port: 1 }] },
        { addresses: null, notReadyAddresses: null, ports: null },
      ],
    },
    { metadata, subsets: null },
  ];
  expect(fromEndpoints(all, 'http')).toEqual([
    { key: 'uid-b', pod: 'b', address: '10.0.0.2', port: 8080, ready: false, leaving: false },
    { key: 'uid-a', pod: 'a', address: '10.0.0.1', port: 8080, ready: true, leaving: false },
  ]);
});

describe('the port of a service', () => {
  const service: Service = {
    metadata,
    spec: {
      ports: [
        { name: 'dns', port: 53, protocol: 'UDP' },
        { name: 'http', port: 80 },
        { name: 'x443', port: 443, protocol: 'TCP' },
      ],
    },
  };

  test.each([
    [80, { name: 'http', port: 80 }],
    ['80', { name: 'http', port: 80 }],
    ['http', { name: 'http', port: 80 }],
    ['x443', { name: 'x443', port: 443 }],
    [53, undefined],
    ['dns', undefined],
    [8080, undefined],
  ])('%s', (wanted, found) => {
    expect(findPort(service, wanted)).toEqual(found);
  });

  test.each(['0x50', '1e3'])('%s is a name, though JavaScript takes it for a number', (name) => {
    const named = { name, port: 8080 };
    const ports = [{ name: 'a', port: 80 }, { name: 'b', port: 1000 }, named];
    expect(findPort({ metadata, spec: { ports } }, name)).toEqual(named);
    expect(portNumber({ port: name })).toBeUndefined();
  });

  test('is listed for those who named another', () => {
    expect(showPorts(service)).toBe('80 (http), 443 (x443)');
    expect(showPorts({ metadata, spec: { ports: [{ port: 80 }] } })).toBe('80');
    expect(showPorts({ metadata })).toBe('no TCP port');
  });
});

describe('the spec', () => {
  const whole = { namespace: 'mcp', service_name: 'orders', port: 80 };
  const problem = (more: object) => {
    const result = k8sServiceSpec['~standard'].validate({ ...whole, ...more });
    if (result instanceof Promise) throw new Error('validation is synchronous');
    return result.issues?.map(({ message }) => message).join('; ');
  };

  test.each([
    {},
    { port: 'http' },
    { port: '8080' },
    { port: 65535 },
    { path: '/a/b?c=d' },
    { path: '/' },
    { scheme: 'https', reach: 'dns', transport: 'sse', context: 'a/b@c', headers: { 'x-a': 'b' } },
  ])('%j is fine', (more) => {
    expect(problem(more)).toBeUndefined();
  });

  test.each([
    [{ port: 0 }, /is not a port/],
    [{ port: 65536 }, /is not a port/],
    [{ port: '70000' }, /is not a port/],
    [{ port: 1.5 }, /is not a port/],
    [{ port: 'HTTP' }, /is not a port/],
    [{ port: '' }, /is not a port/],
    [{ namespace: '' }, /is empty/],
    [{ namespace: '../x' }, /is not a name that Kubernetes allows/],
    [{ service_name: 'a.b' }, /is not a name that Kubernetes allows/],
    [{ service_name: 'x'.repeat(64) }, /is not a name that Kubernetes allows/],
    [{ path: 'mcp' }, /must begin with one "\/"/],
    [{ path: '//evil.example' }, /must begin with one "\/"/],
    [{ path: '/a#b' }, /must begin with one "\/"/],
    [{ path: '/\\evil.example' }, /must begin with one "\/"/],
    [{ scheme: 'ftp' }, /./],
    [{ reach: 'nodeport' }, /./],
    [{ headers: { host: 'x' } }, /is set by the library itself/],
    [{ image: 'x' }, /./],
  ])('%j is refused', (more, message) => {
    expect(problem(more)).toMatch(message);
  });
});

test('why there is no first list of endpoints for 15 s is told: the end of a start by time would not say it', async () => {
  const asked: WatchOptions<never>[] = [];
  const watch = (_: unknown, options: WatchOptions<never>) => {
    asked.push(options);
    return { close: () => {} };
  };
  const clock = new FakeClock();
  const spec = { namespace: 'home', service_name: 'orders', port: 80 };
  const { listed } = new EndpointsWatch({ watch } as unknown as Cluster, spec, '', clock, () => {});
  const [first, second] = ['first', 'second'].map((text) => new KubernetesError('refused', text, { status: 500 }));
  if (first === undefined || second === undefined) throw new Error('there are two');
  asked[0]?.trouble?.(first);
  await clock.advance(15_001);
  asked[0]?.trouble?.(second);
  await expect(listed).rejects.toBe(second);
});
