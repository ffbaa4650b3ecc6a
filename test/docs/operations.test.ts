import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { createGateway } from '../../src/index.js';
import { toJob } from '../../src/runtimes/k8s-job/manifest.js';

const page = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');

test('the Role on the page of operations is what gateway.rbac() gives', () => {
  const manifests = /<<'END'\n(.*?)\nEND/s.exec(page)?.[1] ?? '';
  const documents = parseAllDocuments(manifests).map(
    (document) => document.toJS() as { kind: string; rules: object[] },
  );
  expect(documents.map(({ kind }) => kind)).toEqual(['Role', 'ServiceAccount', 'RoleBinding', 'Deployment']);

  const namespace = 'mcp-servers';
  const gateway = createGateway(
    {
      servers: [
        { id: 'job', env: { A: 'b' }, runtime: { type: 'k8s-job', namespace, image: 'x' } },
        { id: 'service', runtime: { type: 'k8s-service', namespace, service_name: 'x', port: 80, reach: 'dns' } },
      ],
    },
    { env: {} },
  );
  expect(documents[0]).toEqual(gateway.rbac()[0]);
});

test('the commands that look at Jobs and Leases choose them by the label that they have', () => {
  const [label, ...others] = new Set(
    [...page.matchAll(/^kubectl get .* -l (\S+)=(\S+)$/gm)].map((match) => match.slice(1).join('=')),
  );
  expect(others).toEqual([]);
  const job = toJob({ namespace: 'x', image: 'x' }, { job: 'x', lease: 'x', server: 'x' }, false);
  expect(job).toHaveProperty(['metadata', 'labels', label?.split('=')[0] ?? ''], label?.split('=')[1]);
});
