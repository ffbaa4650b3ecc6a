import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { describe, expect, test } from 'vitest';
import { toContainerBody } from '../../src/runtimes/docker/container-body.js';
import { HttpEngine } from '../../src/runtimes/docker/engine/http-engine.js';
import { toLabels } from '../../src/runtimes/docker/labels.js';
import { type DockerSpec, dockerSpec } from '../../src/runtimes/docker/spec.js';
import { toJob, toSecret } from '../../src/runtimes/k8s-job/manifest.js';
import { k8sJobSpec } from '../../src/runtimes/k8s-job/spec.js';
import type { K8sJobSpec } from '../../src/runtimes/k8s-job/spec-types.js';
import { type K8sServiceSpec, k8sServiceSpec, serviceUrl } from '../../src/runtimes/k8s-service/spec.js';
import { LocalProcessRuntime } from '../../src/runtimes/local-process.js';
import { RemoteSseRuntime } from '../../src/runtimes/remote-sse.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { findIntrusion, makeHostile } from './hostile-strings.js';
import { type Chance, count, createChance } from './seed.js';

const strings = count(1_000, 10_000);

interface Field<Spec> {
  readonly plain: string;
  set(value: string): Spec;
  /** What is to be found where the plain one stood. @default the value itself */
  readonly as?: (value: string) => string;
}

/** Puts hostile strings into every field; what the schema takes has to stand in its place alone. */
function infiltrate<Spec>(
  chance: Chance,
  schema: StandardSchemaV1,
  fields: Readonly<Record<string, Field<Spec>>>,
  build: (spec: Spec) => unknown,
): Record<string, number> {
  const taken: Record<string, number> = {};
  for (const [name, { plain, set, as = (value: string) => value }] of Object.entries(fields)) {
    const isValid = (spec: Spec) =>
      (schema['~standard'].validate(spec) as StandardSchemaV1.Result<unknown>).issues === undefined;
    expect(isValid(set(plain)), name).toBe(true);
    const before = build(set(plain));
    expect(JSON.stringify(before), name).toContain(as(plain));
    taken[name] = 0;
    for (let run = 0; run < strings; run += 1) {
      const hostile = makeHostile(chance);
      if (!isValid(set(hostile))) continue;
      taken[name] += 1;
      const intrusion = findIntrusion(before, build(set(hostile)), as(plain), as(hostile));
      if (intrusion !== undefined) expect.fail(`${name} ${JSON.stringify(hostile)}: ${intrusion}`);
    }
  }
  return taken;
}

describe('hostile strings stand in their place alone, or are refused:', { timeout: 600_000 }, () => {
  test('in the body of a container', () => {
    const base: DockerSpec = { image: 'i:1', command: 'c', args: ['z'] };
    const fields: Record<string, Field<DockerSpec>> = {
      image: { plain: 'plain:1', set: (image) => ({ ...base, image }) },
      command: { plain: 'plain', set: (command) => ({ ...base, command }) },
      args: { plain: 'plain', set: (arg) => ({ ...base, args: ['-y', arg, 'z'] }) },
      working_dir: { plain: '/plain', set: (working_dir) => ({ ...base, working_dir }) },
      network: { plain: 'plain', set: (network) => ({ ...base, network }) },
      user: { plain: 'plain', set: (user) => ({ ...base, user }) },
      cap_add: {
        plain: 'PLAIN',
        set: (capability) => ({ ...base, cap_add: [capability] }),
        as: (value) => value.toUpperCase().replace(/^CAP_/, ''),
      },
      'source of a volume': {
        plain: 'plain',
        set: (source) => ({ ...base, volumes: [`/from/${source}:/target:ro`] }),
        as: (value) => resolve(`/from/${value}`),
      },
      tmpfs: {
        plain: '/plain',
        set: (path) => ({ ...base, read_only: false, tmpfs: [`${path}:size=1m`] }),
        as: (value) => resolve(value),
      },
      'target of a volume': { plain: '/plain', set: (target) => ({ ...base, volumes: [`/source:${target}:ro`] }) },
    };
    const labels = toLabels(
      { server: 's', gatewayId: 'g', instanceId: 'i' },
      { boot: 'b', pidNamespace: '1', pid: 1, startTime: '1' },
    );
    const chance = createChance('strings in containers');
    const taken = infiltrate(chance, dockerSpec, fields, (spec) =>
      toContainerBody(spec, { baseDir: '/base', env: { A: 'a' }, labels }),
    );
    expect(taken.args).toBeGreaterThan(strings / 2);
    expect(taken.network).toBeLessThan(strings / 2);
    const before = toContainerBody(base, { baseDir: '/base', env: { A: 'plain', B: 'b' }, labels });
    for (let run = 0; run < strings; run += 1) {
      const hostile = makeHostile(chance);
      const after = toContainerBody(base, { baseDir: '/base', env: { A: hostile, B: 'b' }, labels });
      expect(findIntrusion(before, after, 'plain', hostile)).toBeUndefined();
    }
  });

  test('in the manifests of a Job', () => {
    const base: K8sJobSpec = { namespace: 'n', image: 'i:1', command: 'c', args: ['z'] };
    // Kubernetes would replace what follows a single one.
    const literally = (value: string) => value.replaceAll('$', '$$$$');
    const fields: Record<string, Field<K8sJobSpec>> = {
      namespace: { plain: 'plain', set: (namespace) => ({ ...base, namespace }) },
      image: { plain: 'plain:1', set: (image) => ({ ...base, image }) },
      service_account: { plain: 'plain', set: (service_account) => ({ ...base, service_account }) },
      command: { plain: 'plain', set: (command) => ({ ...base, command }), as: literally },
      args: { plain: 'plain', set: (arg) => ({ ...base, args: ['-y', arg, 'z'] }), as: literally },
      working_dir: { plain: '/plain', set: (working_dir) => ({ ...base, working_dir }) },
      image_pull_secrets: { plain: 'plain', set: (secret) => ({ ...base, image_pull_secrets: [secret] }) },
      env_from: { plain: 'plain', set: (secret) => ({ ...base, env_from: [{ secret }] }) },
      'env_from, a prefix': { plain: 'PLAIN', set: (prefix) => ({ ...base, env_from: [{ secret: 's', prefix }] }) },
      'env_from, a config map': { plain: 'plain', set: (config_map) => ({ ...base, env_from: [{ config_map }] }) },
      'tolerations, a key': { plain: 'plain', set: (key) => ({ ...base, tolerations: [{ key, operator: 'Exists' }] }) },
      'tolerations, a value': { plain: 'plain', set: (value) => ({ ...base, tolerations: [{ key: 'k', value }] }) },
      'cap_add of pod_security': { plain: 'PLAIN', set: (name) => ({ ...base, pod_security: { cap_add: [name] } }) },
      'a value of resources': {
        plain: '17m',
        set: (value) => ({ ...base, resources: { limits: { cpu: value } } }),
      },
      'pod, a value': {
        plain: 'plain',
        set: (value) => ({ ...base, pod: { spec: { containers: [{ name: 'mcp', lifecycle: value }] } } }),
      },
      'node_selector, a value': { plain: 'plain', set: (value) => ({ ...base, node_selector: { key: value } }) },
      'node_selector, a key': { plain: 'plain', set: (key) => ({ ...base, node_selector: { [key]: 'value' } }) },
      'limits of resources': {
        plain: 'plain.io/gpu',
        set: (name) => ({ ...base, resources: { limits: { [name]: '1' } } }),
      },
    };
    const names = { job: 'job', lease: 'lease', server: 'server' };
    const chance = createChance('strings in Jobs');
    const taken = infiltrate(chance, k8sJobSpec, fields, (spec) => toJob(spec, names, true));
    expect(taken.args).toBeGreaterThan(strings / 2);
    expect(taken.namespace).toBeLessThan(strings / 2);
    for (let run = 0; run < strings; run += 1) {
      const hostile = makeHostile(chance);
      const { data } = toSecret(base, names, { A: hostile, B: 'b' }, 'uid') as { data: Record<string, string> };
      expect(Object.keys(data)).toEqual(['A', 'B']);
      expect(Buffer.from(data.A ?? '', 'base64').toString()).toBe(hostile.toWellFormed());
    }
  });

  test('in the address of a Service', () => {
    const base = { namespace: 'home', service_name: 'plain', port: 80 };
    const chance = createChance('strings in Services');
    const taken = { namespace: 0, service_name: 0, path: 0, scheme: 0 };
    for (const field of Object.keys(taken) as (keyof typeof taken)[]) {
      for (let run = 0; run < strings; run += 1) {
        const hostile = (field === 'path' && chance() < 0.5 ? '/' : '') + makeHostile(chance);
        const spec = { ...base, [field]: hostile } as K8sServiceSpec;
        const { issues } = k8sServiceSpec['~standard'].validate(spec) as StandardSchemaV1.Result<unknown>;
        if (issues !== undefined) continue;
        taken[field] += 1;
        const { protocol, username, host, pathname } = serviceUrl(spec, 8080);
        expect([protocol, username, host], hostile).toEqual([
          'http:',
          '',
          `${spec.service_name}.${spec.namespace}.svc:8080`,
        ]);
        expect(pathname[0]).toBe('/');
      }
    }
    expect(taken.path).toBeGreaterThan(strings / 20);
    expect(taken.service_name).toBeLessThan(strings / 2);
    expect(taken.scheme).toBe(0);
  });

  test('in requests to an engine', async () => {
    const requests: { url: string; body: string; headers: string[] }[] = [];
    const server = createServer(async (request, response) => {
      requests.push({ url: request.url ?? '', body: await text(request), headers: request.rawHeaders });
      response.writeHead(201, { 'content-type': 'application/json' }).end('{"Id":"made"}');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const engine = new HttpEngine({ name: 'engine', host: '127.0.0.1', port }, '1.41', async () => '1.41');
    const { signal } = new AbortController();
    const chance = createChance('strings in requests');
    for (let run = 0; run < strings; run += 1) {
      const hostile = makeHostile(chance);
      const body = toContainerBody({ image: hostile }, { baseDir: '/', env: {}, labels: { [hostile]: hostile } });
      await engine.create({ name: hostile, platform: hostile, body }, signal);
      const { url, body: sent } = requests.pop() ?? { url: '', body: '' };
      const { pathname, searchParams } = new URL(url, 'http://engine');
      expect(pathname).toBe('/v1.41/containers/create');
      expect([...searchParams]).toEqual([
        ['name', hostile.toWellFormed()],
        ['platform', hostile.toWellFormed()],
      ]);
      expect(JSON.parse(sent)).toEqual(JSON.parse(JSON.stringify(body)));
    }
    server.close();
    server.closeAllConnections();
  });

  test('in the arguments and variables of a process', async () => {
    const chance = createChance('strings in processes');
    const atOnce = 200;
    const program = `process.stdin.once('end', () => process.exit()).resume();
      const params = { args: process.argv.slice(1), env: process.env };
      process.stdout.write(JSON.stringify({ jsonrpc: '2.0', method: 'told', params }) + '\\n');`;
    const runtime = new LocalProcessRuntime();
    for (let run = 0; run < strings / atOnce; run += 1) {
      const all = Array.from({ length: atOnce }, () => makeHostile(chance));
      const spec = (args: readonly string[]) => ({
        command: process.execPath,
        args: ['--eval', program, '--', ...args],
      });
      const args = all.filter((arg) => !arg.includes('\0'));
      const env = Object.fromEntries(args.map((value, n) => [`V${n}`, value]));
      const transport = await runtime.open(spec(args), createRuntimeContext({ env }));
      const told = Promise.withResolvers<{ args: string[]; env: Record<string, string> }>();
      transport.onmessage = (message) => told.resolve((message as never as { params: never }).params);
      await transport.start();
      const { args: arrived, env: variables } = await told.promise;
      await transport.close();
      expect(arrived).toEqual(args.map((arg) => arg.toWellFormed()));
      for (const [name, value] of Object.entries(env)) expect(variables[name]).toBe(value.toWellFormed());
      expect(Object.keys(variables).filter((name) => /^V\d+$/.test(name))).toHaveLength(args.length);
    }
    // No argument can hold it.
    const nul = { command: process.execPath, args: ['a\0b'] };
    await expect(runtime.open(nul, createRuntimeContext())).rejects.toThrow('a NUL character stands in command, args');
    await runtime.close();
  });

  test('in headers', async () => {
    const seen: string[][] = [];
    const server = createServer(async (request, response) => {
      seen.push(request.rawHeaders);
      const { id } = JSON.parse((await text(request)) || '{}') as { id?: number };
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ jsonrpc: '2.0', id, result: {} }));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const runtime = new RemoteSseRuntime();
    const chance = createChance('strings in headers');
    const atOnce = 50;
    let sent = 0;
    for (let run = 0; run < strings / atOnce; run += 1) {
      const specOf = (headers: Record<string, string>) => ({ url, headers, transport: 'streamable-http' as const });
      const isTaken = (headers: Record<string, string>) =>
        (runtime.spec['~standard'].validate(specOf(headers)) as StandardSchemaV1.Result<unknown>).issues === undefined;
      const headers: Record<string, string> = {};
      for (let n = 0; n < atOnce; n += 1) {
        const [name, value] = [`x-${n}${chance() < 0.3 ? makeHostile(chance) : ''}`, makeHostile(chance)];
        if (isTaken({ ...headers, [name]: value })) headers[name] = value;
      }
      const transport = await runtime.open(specOf(headers) as never, createRuntimeContext());
      await transport.start();
      await transport.send({ jsonrpc: '2.0', id: 1, method: 'ping' });
      await transport.close();
      const raw = seen.shift() as string[];
      seen.length = 0;
      const arrived = raw.flatMap((name, at) => (at % 2 === 0 && /^x-\d/.test(name) ? [[name, raw[at + 1]]] : []));
      // Blanks around a value belong to nobody.
      const wanted = Object.entries(headers).map(([name, value]) => [
        name.toLowerCase(),
        value.replaceAll(/^[ \t]+|[ \t]+$/g, ''),
      ]);
      expect(arrived).toEqual(wanted);
      sent += wanted.length;
      expect(raw.some((part) => /^x-evil$/i.test(part))).toBe(false);
    }
    await runtime.close();
    server.close();
    server.closeAllConnections();
    expect(sent).toBeGreaterThan(strings / 4);
  });
});
