import { readFileSync } from 'node:fs';
import { Ajv, type AnySchemaObject } from 'ajv';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { envelopeSchema } from '../../src/catalog/envelope.js';
import { createGateway, parseCatalog } from '../../src/index.js';
import { dockerSpec } from '../../src/runtimes/docker/spec.js';
import { k8sJobSpec } from '../../src/runtimes/k8s-job/spec.js';
import { k8sServiceSpec } from '../../src/runtimes/k8s-service/spec.js';
import { localProcessSpec } from '../../src/runtimes/local-process.js';
import { remoteSseSpec } from '../../src/runtimes/remote-sse/spec.js';
import { readComments } from './read-comments.js';
import { catalogJsonSchema, catalogReferencePage } from './write-schema.js';

// Every built-in runtime that a text can name. `npm run schema` writes the file again.
const runtimes = [
  {
    type: 'local-process',
    schema: localProcessSpec,
    comments: readComments('runtimes/local-process.ts', 'LocalProcessSpec'),
  },
  { type: 'remote-sse', schema: remoteSseSpec, comments: readComments('runtimes/remote-sse/spec.ts', 'RemoteSseSpec') },
  { type: 'docker', schema: dockerSpec, comments: readComments('runtimes/docker/spec.ts', 'DockerSpec') },
  { type: 'k8s-job', schema: k8sJobSpec, comments: readComments('runtimes/k8s-job/spec-types.ts', 'K8sJobSpec') },
  {
    type: 'k8s-service',
    schema: k8sServiceSpec,
    comments: readComments('runtimes/k8s-service/spec.ts', 'K8sServiceSpec'),
  },
];
const schema = catalogJsonSchema(runtimes);
const validate = new Ajv({ strict: true, strictTypes: false }).compile(schema as AnySchemaObject);
const seed = readFileSync(new URL('seed-blocks.md', import.meta.url), 'utf8');

describe('docs/catalog.schema.json', () => {
  test('is up to date: npm run schema', async () => {
    await expect(`${JSON.stringify(schema, undefined, 2)}\n`).toMatchFileSnapshot('../../docs/catalog.schema.json');
  });

  test.each([
    ['no list', {}],
    ['an unknown key', { servers: [], server: [] }],
    ['no id', { servers: [{ runtime: { type: 'docker' } }] }],
    ['a bad id', { servers: [{ id: 'a__b', runtime: { type: 'docker' } }] }],
    ['an unknown key of an entry', { servers: [{ id: 'a', isolaton: 'x', runtime: { type: 'docker' } }] }],
    ['an unknown key of a spec', { servers: [{ id: 'a', runtime: { type: 'local-process', command: 'x', arg: [] } }] }],
    ['a spec without what it needs', { servers: [{ id: 'a', runtime: { type: 'local-process' } }] }],
    ['a number in env', { servers: [{ id: 'a', env: { A: 1 }, runtime: { type: 'docker' } }] }],
    ['a number as duration', { servers: [{ id: 'a', idle_timeout: 5, runtime: { type: 'docker' } }] }],
    ['a bad duration', { servers: [{ id: 'a', idle_timeout: '5', runtime: { type: 'docker' } }] }],
    ['a runtime without type', { servers: [{ id: 'a', runtime: {} }] }],
  ])('refuses %s', (_, catalog) => {
    expect(validate(catalog)).toBe(false);
  });

  test('accepts the documented catalog that mixes runtimes, and every documented runtime', () => {
    for (const [, block] of seed.matchAll(/```yaml\n(.*?)```/gs)) {
      const data = parse(block ?? '');
      const catalog = Array.isArray(data)
        ? { servers: data }
        : data.servers
          ? data
          : { servers: [{ id: 'a', ...data }] };
      expect(validate(catalog), JSON.stringify(validate.errors)).toBe(true);
    }
  });

  test('accepts variables, 0 and $schema', () => {
    const entry = {
      id: 'a',
      idle_timeout: 0,
      start_timeout: '${T:-5s}',
      runtime: { type: 'local-process', command: 'x' },
    };
    expect(validate({ $schema: './catalog.schema.json', servers: [entry] }), JSON.stringify(validate.errors)).toBe(
      true,
    );
  });

  test('accepts a variable for every string but the id, and capabilities whatever their case, as createGateway does', async () => {
    const headers = { Authorization: '${V}' };
    const servers = [
      { type: 'local-process', command: '${V}', args: ['${V}'], working_dir: '${V}', stop_timeout: { stdin: '${T}' } },
      { type: 'remote-sse', url: '${URL}', headers, transport: '${SSE}' },
      {
        type: 'docker',
        image: '${V}',
        container_name: '${V}',
        network: '${V}',
        working_dir: '${DIR}',
        pull: '${PULL}',
        platform: '${V}',
        user: '${V}',
        cap_add: ['${CAP}', 'net_admin', 'Cap_Chown'],
        tmpfs: ['${DIR}', '/run:mode=${MODE}'],
      },
      {
        type: 'k8s-job',
        namespace: 'team-${V}',
        image: '${V}',
        service_account: '${V}',
        working_dir: '${DIR}',
        user: '${MODE}',
        env_from: [{ secret: '${V}' }, { config_map: '${V}' }],
        pull_policy: '${POLICY}',
        image_pull_secrets: ['${V}'],
        tolerations: [{ operator: '${EXISTS}', effect: '${EFFECT}' }],
        pod_security: { cap_add: ['${CAP}'], seccomp: '${SECCOMP}' },
      },
      {
        type: 'k8s-service',
        namespace: '${V}',
        service_name: '${V}',
        port: '${MODE}',
        scheme: '${SCHEME}',
        reach: '${DNS}',
      },
    ].map((runtime, index) => ({
      id: `a${index}`,
      isolation: '${SHARED}',
      on_reload: '${NOW}',
      protocol: '${LEGACY}',
      idle_timeout: '${T}',
      max_message: '${SIZE}',
      runtime,
    }));
    const env = {
      ...{
        V: 'v1',
        T: '5s',
        SIZE: '1MiB',
        URL: 'http://localhost',
        SSE: 'sse',
        DIR: '/srv',
        PULL: 'never',
        MODE: '1000',
      },
      ...{ CAP: 'NET_ADMIN', POLICY: 'Always', EXISTS: 'Exists', EFFECT: 'NoSchedule', SECCOMP: 'Unconfined' },
      ...{ SCHEME: 'https', DNS: 'dns', SHARED: 'shared', NOW: 'now', LEGACY: 'legacy' },
    };

    await createGateway(await parseCatalog(JSON.stringify({ servers })), { env }).close();

    expect(validate({ servers }), JSON.stringify(validate.errors)).toBe(true);
    expect(validate({ servers: [{ ...servers[0], id: '${V}' }] })).toBe(false);
  });

  test('names every key of an entry', () => {
    const { items } = Object(schema.properties?.servers);
    expect(Object.keys(items.properties).sort()).toEqual(Object.keys(envelopeSchema.entries).sort());
  });
});

test('docs/catalog-reference.md is up to date: npm run schema', async () => {
  await expect(catalogReferencePage(runtimes)).toMatchFileSnapshot('../../docs/catalog-reference.md');
});
