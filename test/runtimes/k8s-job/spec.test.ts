import { safeParse } from 'valibot';
import { describe, expect, test } from 'vitest';
import { findQuantityProblem, parseKubernetesQuantity } from '../../../src/runtimes/k8s-job/quantity.js';
import { k8sJobSpec } from '../../../src/runtimes/k8s-job/spec.js';
import { K8sJobRuntime } from '../../../src/runtimes/k8s-job.js';
import { createRuntimeContext } from '../../../src/testing/index.js';
import { FakeApiServer, sendJson } from '../../support/kubernetes/fake-api-server.js';

const smallest = { namespace: 'mcp-servers', image: 'mcp/my-server:v1.0' };

describe('the spec', () => {
  test.each([
    ['a namespace with capitals', { namespace: 'Mcp' }, /is not a namespace/],
    ['an empty image', { image: '' }, /is empty/],
    ['two images', { image: 'a b' }, /holds a space/],
    ['a quantity in MB', { resources: { limits: { memory: '128MB' } } }, /is not a quantity; write it as 128Mi/],
    ['memory in thousandths of bytes', { resources: { limits: { memory: '128m' } } }, /write it as 128Mi/],
    ['a cpu with a unit', { resources: { requests: { cpu: '1 core' } } }, /write it as 500m or 0.5/],
    [
      'a request above its limit',
      { resources: { requests: { memory: '1Gi' }, limits: { memory: '1000Mi' } } },
      /asks for 1Gi of memory, which is above its limit of 1000Mi/,
    ],
    ['a user by name', { user: 'node' }, /is not a user; write it as "1000"/],
    ['root', { user: '0' }, /run_as_non_root to false/],
    ['a relative folder', { working_dir: 'srv' }, /absolute path/],
    ['a variable from nowhere', { env_from: [{}] }, /either a secret or a config_map/],
    ['a variable from both', { env_from: [{ secret: 'a', config_map: 'b' }] }, /either a secret or a config_map/],
    ['a duration without unit', { ttl: '60' }, /is not a duration/],
    ['containers by name', { pod: { spec: { containers: { mcp: { tty: true } } } } }, /must be a list/],
    ['a single container', { pod: { spec: { containers: 'mcp' } } }, /must be a list/],
    ['labels in one text', { pod: { metadata: { labels: 'app=mcp' } } }, /must be a map/],
    ['labels in a list', { pod: { metadata: { labels: ['app=mcp'] } } }, /must be a map/],
    ['an unknown switch', { pod_security: { privileged: true } }, /privileged/],
  ])('refuses %s', (_, change, message) => {
    const { issues = [] } = safeParse(k8sJobSpec, { ...smallest, ...change });
    expect(issues.map((issue) => issue.message).join('; ')).toMatch(message);
  });

  test('says which quantity is wrong', () => {
    const { issues } = safeParse(k8sJobSpec, { ...smallest, resources: { limits: { cpu: '1', memory: 'much' } } });
    expect(issues?.[0]?.path?.map(({ key }) => key)).toEqual(['resources', 'limits', 'memory']);
  });

  test.each([
    ['root where it is wanted', { user: '0', pod_security: { run_as_non_root: false } }],
    ['equal requests and limits in other words', { resources: { requests: { cpu: '1' }, limits: { cpu: '1000m' } } }],
    ['resources of devices', { resources: { limits: { 'nvidia.com/gpu': '1' } } }],
    ['the image as it is', { user: 'image' }],
    ['labels and containers that are taken away', { pod: { metadata: { labels: null }, spec: { containers: null } } }],
  ])('takes %s', (_, change) => {
    expect(safeParse(k8sJobSpec, { ...smallest, ...change }).issues).toBeUndefined();
  });
});

test.each([
  ['500m', 0.5],
  ['0.5', 0.5],
  ['.5', 0.5],
  ['2', 2],
  ['128Mi', 128 * 1024 ** 2],
  ['1.5Gi', 1.5 * 1024 ** 3],
  ['128M', 128e6],
  ['1e3', 1000],
  ['12E', 12e18],
  ['', undefined],
  ['-1', undefined],
  ['1KB', undefined],
  ['1 Gi', undefined],
  ['0x10', undefined],
  ['1e', undefined],
])('the quantity %j is %j', (text, amount) => {
  expect(parseKubernetesQuantity(text)).toBe(amount);
});

test.each(['.', '..', '..data', '1ST', 'A B'])('a variable named %j is told before anything is made', async (name) => {
  await using fake = await FakeApiServer.listen();
  fake.answer = (_request, response) => sendJson(response, 200, { metadata: {}, status: { allowed: true } });
  const runtime = new K8sJobRuntime({ kubeconfig: fake.kubeconfig });
  const env = { '.rc': '', 'a.b-c': '', [name]: '' };
  const problem = `Kubernetes takes no variable named "${name}"`;
  const { problems } = await runtime.check(smallest, createRuntimeContext({ env }));
  expect(problems).toEqual([expect.stringContaining(problem)]);
  const asked = fake.requests.length;
  await expect(runtime.open(smallest, createRuntimeContext({ env }))).rejects.toThrow(problem);
  expect(fake.requests).toHaveLength(asked);
  await runtime.close();
});

test('what Kubernetes takes for tiny is told', () => {
  expect(findQuantityProblem('memory', '512m')).toMatch(/means 0.512 bytes/);
  expect(findQuantityProblem('cpu', '512m')).toBeUndefined();
});
