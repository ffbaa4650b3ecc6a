import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createGateway } from '../../src/gateway.js';
import { K8sJobRuntime } from '../../src/runtimes/k8s-job.js';
import { bringReferenceServer, referenceSpec } from '../support/kubernetes/job-server.js';
import { TestNamespace } from '../support/kubernetes/namespace.js';
import { kubeconfigOf } from '../support/kubernetes/service-account.js';
import { describeWithKubernetes } from '../support/real-parts.js';

const slow = { timeout: 240_000 };

describeWithKubernetes('k8s-job: access', () => {
  let namespace: TestNamespace;
  beforeAll(async () => {
    namespace = await TestNamespace.create('job-access');
    await bringReferenceServer(namespace);
  });
  afterAll(() => namespace?.[Symbol.asyncDispose]());

  const catalog = () => ({
    servers: [
      {
        id: 'orders',
        runtime: { type: 'k8s-job' as const, ...referenceSpec(namespace.name) },
        env: { TOKEN: 'a' },
        start_timeout: '3m',
      },
    ],
  });

  /** A gateway that runs as a ServiceAccount of its own, with the rules of the Role that `change` makes of the smallest. */
  async function gatewayOf(account: string, change: (rules: Rule[]) => Rule[] = (rules) => rules) {
    const [role] = createGateway(catalog()).rbac();
    if (role === undefined) throw new Error('there is no Role');
    const { name } = namespace;
    const named = { name: account };
    await namespace.create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: named });
    const rules = change(structuredClone(role.rules) as Rule[]);
    await namespace.create({ ...role, metadata: named, rules });
    await namespace.create({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: named,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: account },
      subjects: [{ kind: 'ServiceAccount', name: account, namespace: name }],
    });
    const kubeconfig = await kubeconfigOf(namespace, account);
    return createGateway(catalog(), { runtimes: [new K8sJobRuntime({ kubeconfig })] });
  }

  test('the Role names what is used, and nothing else', () => {
    const [role, ...others] = createGateway(catalog()).rbac();
    expect(others).toEqual([]);
    expect({ ...role, metadata: { ...role?.metadata, namespace: 'n' } }).toMatchSnapshot();
    const [first] = catalog().servers;
    const without = createGateway({ servers: [{ ...first, id: 'a', runtime: referenceAt('here'), env: {} }] } as never);
    expect(without.rbac()[0]?.rules.flatMap(({ resources }) => resources)).not.toContain('secrets');
    const two = ['here', 'there'].map((place) => ({ id: place, runtime: referenceAt(place) }));
    expect(
      createGateway({ servers: two })
        .rbac()
        .map(({ metadata }) => metadata.namespace),
    ).toEqual(['here', 'there']);
    expect(createGateway({ servers: [] }).rbac()).toEqual([]);
  });

  const referenceAt = (place: string) => ({ type: 'k8s-job' as const, ...referenceSpec(place) });

  test.concurrent('with its Role a gateway does everything: check, start, answer, crash, stop', slow, async () => {
    await using gateway = await gatewayOf('whole');
    expect(await gateway.check()).toEqual([{ server: 'orders', ok: true, problems: [] }]);
    for (const crash of [true, false]) {
      const client = new Client({ name: 'test', version: '1.0.0' });
      const closed = new Promise<void>((resolve) => {
        client.onclose = resolve;
      });
      const reasons: Error[] = [];
      client.onerror = (error) => reasons.push(error);
      await client.connect(gateway.connect('orders'), slow);
      const answer = await client.callTool({ name: 'env', arguments: { name: 'TOKEN' } });
      expect(answer.content).toEqual([{ type: 'text', text: '"a"' }]);
      if (!crash) await client.close();
      else await client.callTool({ name: 'crash', arguments: { code: 7, stderr: 'why it died' } }).catch(() => {});
      await closed;
      if (crash) expect(reasons.at(-1)).toMatchObject({ exit: { code: 7, stderrTail: 'why it died' } });
      else expect(reasons).toEqual([]);
    }
  });

  const needed = [
    ['jobs', 'create', /may not create jobs.batch/],
    ['jobs', 'delete', undefined],
    ['pods', 'watch', /may not watch pods/],
    ['pods/attach', 'get', /may not get pods\/attach/],
    ['secrets', 'create', /may not create secrets/],
    ['leases', 'create', /may not create leases.coordination.k8s.io/],
  ] as const;

  test.concurrent.each(needed)('without %s: %s, check says so, and open too', slow, async (resource, verb, message) => {
    await using gateway = await gatewayOf(`without-${resource.replace('/', '-')}-${verb}`, (rules) =>
      rules.flatMap((rule) => {
        const verbs = rule.resources.includes(resource) ? rule.verbs.filter((one) => one !== verb) : rule.verbs;
        return verbs.length === 0 ? [] : { ...rule, verbs };
      }),
    );
    const [checked] = await gateway.check();
    expect(checked?.ok).toBe(false);
    expect(checked?.problems).toHaveLength(1);
    expect(checked?.problems[0]).toMatch(
      new RegExp(`may not ${verb} ${resource}[ .].*in namespace "${namespace.name}".*gateway.rbac`),
    );
    if (message === undefined) return;
    const transport = gateway.connect('orders');
    await expect(transport.start()).rejects.toThrow(message);
  });

  test.concurrent('an account without any rights', slow, async () => {
    await using gateway = await gatewayOf('nothing', () => []);
    const [checked] = await gateway.check();
    const all = [
      'create/get/list/delete jobs.batch, get/list/watch pods, get/create pods/attach, get pods/log, list events',
      'create secrets, create/patch/list/delete leases.coordination.k8s.io',
    ];
    expect(checked?.problems).toEqual([
      `may not ${all.join(', ')} in namespace "${namespace.name}"; grant it, as in the Role that gateway.rbac() gives`,
    ]);
    await expect(gateway.connect('orders').start()).rejects.toThrow(
      /"orders": may not create leases.coordination.k8s.io in namespace ".*" \(403\): .*cannot create resource "leases".*; grant it, as in the Role that gateway\.rbac\(\) gives/,
    );
  });
});

interface Rule {
  readonly apiGroups: string[];
  readonly resources: string[];
  readonly verbs: string[];
}
