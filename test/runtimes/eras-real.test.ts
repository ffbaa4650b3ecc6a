import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Client as ClientV2 } from '@modelcontextprotocol/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createGateway, type GatewayCatalog } from '../../src/index.js';
import type { JSONRPCMessage } from '../../src/sdk.js';
import { EraPeer } from '../endpoint/era-peer.js';
import { bundle } from '../support/bundle.js';
import { temporaryFolder } from '../support/docker.js';
import { referenceSpec } from '../support/kubernetes/job-server.js';
import { TestNamespace } from '../support/kubernetes/namespace.js';
import { deployPodServer } from '../support/kubernetes/pod-server.js';
import { baseImage, describeWithDocker, describeWithKubernetes } from '../support/real-parts.js';

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/eras/${name}.ts`, import.meta.url));

type Runtime = GatewayCatalog['servers'][number]['runtime'];

/** A stateless server of SDK v2: a client of its era by itself, and one that makes sessions by way of the bridge. */
async function speakBothEras(runtime: Runtime): Promise<void> {
  await using gateway = createGateway({ servers: [{ id: 'one', start_timeout: '3m', runtime }] });
  const transport = gateway.connect('one');
  const sent: JSONRPCMessage[] = [];
  const send = transport.send.bind(transport);
  transport.send = (message, options) => {
    sent.push(message);
    return send(message, options);
  };
  {
    await using peer = await EraPeer.open('v2 modern', transport);
    expect(await peer.text('echo', { text: 'hello' })).toBe('hello');
    expect(await peer.text('interview')).toBe('Ada is 36');
    // As the server wrote it.
    expect(sent.at(-1)).toMatchObject({ params: { requestState: 'Ada', inputResponses: { age: {} } } });
    const listening = await (peer.client as ClientV2).listen({ resourceSubscriptions: ['fixture://watched'] });
    await peer.text('touch');
    await peer.notification('notifications/resources/updated');
    await listening.close();
    const abort = new AbortController();
    const before = Number(await peer.text('cancelled'));
    const waiting = peer.text('wait', {}, { signal: abort.signal });
    for (let count = '0'; count === '0'; ) count = await peer.text('waiting');
    abort.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    for (let count = before; count === before; ) count = Number(await peer.text('cancelled'));
  }
  await using peer = await EraPeer.open('v1', gateway.connect('one', { era: 'legacy' }));
  expect(await peer.text('interview')).toBe('Ada is 36');
  expect(await peer.text('roots')).toBe('file:///home file:///work');
}

describeWithDocker('a stateless server in a container', () => {
  test('is spoken to in its era, and in the other', { timeout: 120_000 }, async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, 'server.mjs'), await bundle(fixture('modern-stdio')));
    await speakBothEras({
      type: 'docker',
      image: baseImage,
      command: 'node',
      args: ['/server/server.mjs'],
      volumes: [`${folder.path}:/server:ro`],
      network: 'none',
    });
  });
});

describeWithKubernetes('a stateless server in a cluster', () => {
  let namespace: TestNamespace;
  beforeAll(async () => {
    namespace = await TestNamespace.create('eras');
    const data = { 'server.mjs': await bundle(fixture('modern-stdio')) };
    await Promise.all([
      namespace.create({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'server' }, data }),
      deployPodServer(namespace, 'stateless', { program: fixture('modern-pod') }),
    ]);
  }, 180_000);
  afterAll(() => namespace?.[Symbol.asyncDispose]());

  test('is spoken to as a Job in its era, and in the other', { timeout: 300_000 }, () =>
    speakBothEras({ type: 'k8s-job', ...referenceSpec(namespace.name), args: ['/server/server.mjs'] }),
  );

  test('is spoken to as a Service in its era, and in the other', { timeout: 120_000 }, () =>
    speakBothEras({
      type: 'k8s-service',
      namespace: namespace.name,
      service_name: 'stateless',
      port: 'http',
      path: '/mcp',
      reach: 'port-forward',
    }),
  );
});
