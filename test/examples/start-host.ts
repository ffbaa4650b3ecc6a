import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createTag, livingWithTag, tagVariable } from '../support/processes.js';

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** A server of a catalog that carries the tag of its host. */
export const server = (id: string, ...args: string[]) => ({
  id,
  env: { [tagVariable]: `\${${tagVariable}}` },
  runtime: { type: 'local-process', command: 'node', args },
});

const tools = path('../fixtures/servers/tools.mjs');

/** A host program of `docs/examples/hosts` with a catalog, ended by whoever made it. */
export async function startHost(name: string, servers = [server('fast', tools), server('late', tools, '300')]) {
  const folder = await mkdtemp(join(tmpdir(), 'host-'));
  await writeFile(join(folder, 'catalog.json'), JSON.stringify({ servers }));
  const tag = createTag();
  const tokens = Object.fromEntries(
    ['ada', 'bob'].map((who) => [createHash('sha256').update(`token of ${who}`).digest('hex'), who]),
  );
  const child = spawn(
    process.execPath,
    [path(`../../docs/examples/hosts/${name}.ts`), join(folder, 'catalog.json'), '0'],
    {
      env: { ...process.env, TOKENS: JSON.stringify(tokens), [tagVariable]: tag },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const exit = once(child, 'exit') as Promise<[number | null, string | null]>;
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const listening = new Promise<number>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const port = /port: (\d+)/.exec(line)?.[1];
      port && resolve(Number(port));
    });
    exit.then(() => reject(new Error(`${name} did not listen: ${stderr}`)));
  });
  const url = `http://127.0.0.1:${await listening}/mcp`;
  return {
    url,
    stderr: () => stderr,
    processes: () => livingWithTag(tag),
    async stop(signal: NodeJS.Signals = 'SIGTERM') {
      child.kill(signal);
      return (await exit)[0];
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exit;
      await rm(folder, { recursive: true, force: true });
    },
  };
}
