import { describe, expect, test } from 'vitest';
import { createGateway, parseCatalog } from '../../../src/index.js';
import { jobName, leaseName, toJob, toLease, toSecret } from '../../../src/runtimes/k8s-job/manifest.js';
import type { K8sJobSpec } from '../../../src/runtimes/k8s-job/spec-types.js';
import { withoutValues } from '../../../src/runtimes/k8s-job/without-values.js';

const names = { job: 'mcp-orders-0123456789ab', lease: 'mcp-gateway-abcdef', server: 'orders' };
const smallest: K8sJobSpec = { namespace: 'mcp-servers', image: 'mcp/orders:1.0' };

describe('manifests', () => {
  test('the smallest spec: restricted, no token, no variables', () => {
    expect(toJob(smallest, names, false)).toMatchSnapshot();
  });

  test('every field', () => {
    const spec: K8sJobSpec = {
      ...smallest,
      service_account: 'mcp-sa',
      resources: { requests: { memory: '128Mi', cpu: '100m' }, limits: { memory: '256Mi', cpu: '500m' } },
      command: '/usr/bin/orders',
      args: ['--template=$(NAME)', '$$(NAME)', '$HOME', 'plain'],
      working_dir: '/srv',
      user: '1000:2000',
      env_from: [
        { secret: 'shared', prefix: 'DB_' },
        { config_map: 'settings', optional: true },
      ],
      pull_policy: 'Always',
      image_pull_secrets: ['registry'],
      node_selector: { disk: 'ssd' },
      tolerations: [{ key: 'gpu', operator: 'Exists', effect: 'NoExecute', toleration_seconds: 30 }],
      pod_security: { cap_add: ['NET_BIND_SERVICE'], seccomp: 'Unconfined' },
      active_deadline: '90s',
      ttl: '5m',
    };
    const owner = { apiVersion: 'v1', kind: 'Pod', name: 'gateway-1', uid: 'u-1' };
    expect(toJob(spec, names, true, owner)).toMatchSnapshot();
  });

  test('each switch of pod_security turns what it names, and nothing else', () => {
    const securityOf = (pod_security: NonNullable<K8sJobSpec['pod_security']>, user?: string) => {
      const job = toJob({ ...smallest, pod_security, user }, names, false);
      const { spec } = Object(job).spec.template;
      return { pod: spec.securityContext, container: spec.containers[0].securityContext, volumes: spec.volumes };
    };
    const restricted = securityOf({});
    expect(securityOf({ run_as_non_root: false })).toEqual({
      ...restricted,
      pod: { runAsUser: 65532, runAsGroup: 65532, seccompProfile: { type: 'RuntimeDefault' } },
    });
    expect(securityOf({ run_as_non_root: false }, 'image').pod).toEqual({ seccompProfile: { type: 'RuntimeDefault' } });
    expect(securityOf({ read_only: false })).toEqual({
      ...restricted,
      container: { ...restricted.container, readOnlyRootFilesystem: false },
      volumes: undefined,
    });
    expect(securityOf({ no_new_privileges: false }).container).toEqual({
      ...restricted.container,
      allowPrivilegeEscalation: true,
    });
    expect(securityOf({ drop_capabilities: false }).container).not.toHaveProperty('capabilities');
    expect(securityOf({ cap_add: ['SYS_TIME'] }).container.capabilities).toEqual({ drop: ['ALL'], add: ['SYS_TIME'] });
    expect(securityOf({ seccomp: 'Unconfined' }).pod.seccompProfile).toEqual({ type: 'Unconfined' });
  });

  test('pod is merged by name and path, and cannot take away what the gateway needs', () => {
    const job = toJob(
      {
        ...smallest,
        pod: {
          metadata: { labels: { team: 'a', 'open-mcp-gateway/job': 'mine' }, annotations: { note: 'x' } },
          spec: {
            restartPolicy: 'Always',
            priorityClassName: 'low',
            containers: [
              {
                name: 'mcp',
                stdin: false,
                tty: true,
                restartPolicy: 'Always',
                restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [1] } }],
                volumeMounts: [{ name: 'data', mountPath: '/data' }],
              },
              { name: 'proxy', image: 'proxy:1' },
            ],
            volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'c' } }],
          },
        },
      },
      names,
      false,
    );
    expect(Object(job).spec.template).toMatchSnapshot();
  });

  test('null in pod takes a default away, from the text of a catalog on', async () => {
    const catalog = await parseCatalog(`
servers:
  - id: orders
    runtime:
      type: k8s-job
      namespace: mcp-servers
      image: mcp/orders:1.0
      pod:
        metadata:
          annotations: { note: ~ }
        spec:
          shareProcessNamespace: null
          securityContext: { seccompProfile: null }
          affinity: { nodeAffinity: null, podAffinity: {} }
          containers:
            - name: mcp
              volumeMounts:
          volumes: null
`);
    await using gateway = createGateway(catalog);
    const { metadata, spec } = Object(gateway.describe('orders').details).job.spec.template;
    const { spec: usual } = Object(toJob(smallest, names, false)).spec.template;
    expect(metadata.annotations).toEqual({});
    const { shareProcessNamespace, volumes, ...rest } = usual;
    expect([shareProcessNamespace, volumes]).toEqual([true, [{ name: 'tmp', emptyDir: {} }]]);
    const { volumeMounts: _, ...container } = usual.containers[0];
    expect(spec).toEqual({
      ...rest,
      securityContext: { runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532 },
      affinity: { podAffinity: {} },
      containers: [container],
    });
  });

  test('the Secret belongs to the Job and holds any text', () => {
    const secret = toSecret(smallest, names, { A: 'ä "b" $c\n', B: '' }, 'uid-of-job');
    expect(secret).toMatchSnapshot();
    expect(Buffer.from(Object(secret).data.A, 'base64').toString()).toBe('ä "b" $c\n');
  });

  test('the Lease', () => {
    expect(toLease('mcp-gateway-abcdef', 'ns', new Date(0))).toMatchSnapshot();
  });

  test('names differ for each instance and gateway, and are names that Kubernetes takes', () => {
    const made = [
      jobName('orders', 'g1', 'i1'),
      jobName('orders', 'g1', 'i2'),
      jobName('orders', 'g2', 'i1'),
      jobName('Orders_DB-', 'g1', 'i1'),
      jobName('a'.repeat(48), 'g1', 'i1'),
      jobName('0-', 'g1', 'i1'),
      leaseName('a'.repeat(70)),
      leaseName('gateway-1'),
    ];
    expect(new Set(made).size).toBe(made.length);
    for (const name of made) expect(name).toMatch(/^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/);
  });

  test('a label is no label with the end that an id may have', () => {
    const job = toJob(smallest, { ...names, server: 'orders--' }, false);
    expect(Object(job).metadata.labels['app.kubernetes.io/name']).toBe('orders');
  });

  test('a description shows the names of variables alone', () => {
    const spec = {
      ...smallest,
      pod: { spec: { containers: [{ name: 'mcp', env: [{ name: 'TOKEN', value: 's3cret' }] }] } },
    };
    const shown = JSON.stringify(withoutValues(toJob(spec, names, false)));
    expect(shown).toContain('TOKEN');
    expect(shown).not.toContain('s3cret');
  });
});
