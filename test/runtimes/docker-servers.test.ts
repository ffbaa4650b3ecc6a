import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createGateway } from '../../src/gateway.js';
import { runConformance } from '../conformance/run-conformance.js';
import { createHttpHost } from '../hosts/http-host.js';
import { bundle } from '../support/bundle.js';
import { createName, docker, temporaryFolder } from '../support/docker.js';
import { baseImage, describeWithDocker } from '../support/real-parts.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const modules = join(root, 'node_modules');

/** Copies a package and all it depends on, as they are installed here. */
async function copyPackages(names: readonly string[], target: string): Promise<void> {
  const seen = new Set<string>();
  const waiting = [...names];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    const source = join(modules, name);
    if (seen.has(name) || !existsSync(source)) continue;
    seen.add(name);
    await mkdir(dirname(join(target, name)), { recursive: true });
    await cp(source, join(target, name), { recursive: true, dereference: true });
    const { dependencies = {} } = JSON.parse(await readFile(join(source, 'package.json'), 'utf8'));
    waiting.push(...Object.keys(dependencies));
  }
}

describeWithDocker('docker: the official servers in an image of their own', () => {
  const image = `mcp-test/${createName()}:local`;

  beforeAll(async () => {
    await using folder = await temporaryFolder();
    const packages = ['everything', 'filesystem'].map((name) => `@modelcontextprotocol/server-${name}`);
    await copyPackages(packages, join(folder.path, 'node_modules'));
    const lines = [`FROM ${baseImage}`, 'COPY node_modules /app/node_modules', 'ENTRYPOINT ["node"]'];
    await writeFile(join(folder.path, 'Dockerfile'), lines.join('\n'));
    await docker('build', '--quiet', '--tag', image, folder.path);
  }, 180_000);
  afterAll(() => docker('rmi', '--force', image));

  const program = (name: string) => `/app/node_modules/@modelcontextprotocol/server-${name}/dist/index.js`;

  test('everything: lists, calls, and reports progress', async () => {
    const runtime = { type: 'docker', image, args: [program('everything'), 'stdio'], network: 'none' } as const;
    await using gateway = createGateway({ servers: [{ id: 'everything', start_timeout: '60s', runtime }] });
    const client = new Client({ name: 'test', version: '1.0.0' });
    await client.connect(gateway.connect('everything'));
    const { tools } = await client.listTools();
    expect(tools.length).toBeGreaterThan(5);
    expect(await client.callTool({ name: 'echo', arguments: { message: 'hello' } })).toMatchObject({
      content: [{ type: 'text', text: 'Echo: hello' }],
    });
    await client.close();
  });

  test('filesystem: sees the folder that is mounted, read-only', async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, 'hello.txt'), 'hello from a file');
    const runtime = {
      type: 'docker',
      image,
      args: [program('filesystem'), '/data'],
      network: 'none',
      volumes: [`${folder.path}:/data:ro`],
    } as const;
    await using gateway = createGateway({ servers: [{ id: 'files', start_timeout: '60s', runtime }] });
    const client = new Client({ name: 'test', version: '1.0.0' });
    await client.connect(gateway.connect('files'));
    const read = await client.callTool({ name: 'read_text_file', arguments: { path: '/data/hello.txt' } });
    expect(read).toMatchObject({ content: [{ text: 'hello from a file' }] });
    const written = await client.callTool({ name: 'write_file', arguments: { path: '/data/x', content: 'x' } });
    expect(written.isError).toBe(true);
    expect(JSON.stringify(written.content)).toContain('EROFS');
    await client.close();
  });
});

describeWithDocker('conformance with docker behind the merged peer', () => {
  describe('the fixture server in a container', () => {
    test('all 30 active scenarios pass', async () => {
      await using folder = await temporaryFolder();
      await writeFile(join(folder.path, 'server.mjs'), await bundle(join(root, 'test/fixtures/conformance/stdio.ts')));
      const runtime = {
        type: 'docker',
        image: baseImage,
        command: 'node',
        args: ['/server/server.mjs'],
        volumes: [`${folder.path}:/server:ro`],
        network: 'none',
      } as const;
      // Each scenario is a caller of its own, with a container of its own.
      const entry = { id: 'fixture', start_timeout: '3m', list_timeout: '3m', runtime };
      await using gateway = createGateway({ servers: [entry] }, { names: ({ name }) => name });
      await using host = await createHttpHost((transport) => gateway.serve(transport));
      const result = await runConformance(host.url, { timeoutMs: 500_000 });
      expect(result.problems, result.output).toEqual([]);
      expect(result.scenarios).toHaveLength(30);
      expect(result.exitCode).toBe(0);
    }, 600_000);
  });
});
