import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { serverPath } from '../support/trees.js';
import { createPackedProject, type PackedProject } from './packed-project.js';

let project: PackedProject;
let elsewhere: string;

beforeAll(() => {
  project = createPackedProject();
  elsewhere = mkdtempSync(join(tmpdir(), 'bundle-'));
});

afterAll(() => {
  project?.[Symbol.dispose]();
  rmSync(elsewhere, { recursive: true, force: true });
});

const program = `
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { createGateway, parseCatalog } from 'open-mcp-gateway';

async function main() {
  const catalog = await parseCatalog('servers: [{ id: echo, runtime: { type: local-process, command: node, args: ["' + process.argv[2] + '"] } }]');
  const gateway = createGateway(catalog);
  const client = new Client({ name: 'bundled', version: '1' });
  await client.connect(gateway.connect());
  const { content } = await client.callTool({ name: 'echo__echo', arguments: { text: 'hello' } });
  console.log(content[0].text);
  await gateway.close();

  const remote = createGateway({ servers: [{ id: 'nobody', runtime: { type: 'remote-sse', url: 'http://127.0.0.1:1/mcp' } }] });
  const [{ problems }] = await remote.check();
  console.log(problems[0]);
  await remote.close();
}
main();
`;
const printed =
  '{"text":"hello"}\n' +
  'http://127.0.0.1:1/mcp cannot be reached: nobody listens at 127.0.0.1:1; does the server run, is the port right? (ECONNREFUSED)\n';

/** Makes one file of a program, or several where what is imported later gets its own. */
async function bundle(text: string, format: 'esm' | 'cjs', splitting = false): Promise<string> {
  const entry = join(project.folder, 'program.mjs');
  writeFileSync(entry, text);
  const extension = format === 'esm' ? '.mjs' : '.cjs';
  const { warnings } = await build({
    entryPoints: [entry],
    outdir: elsewhere,
    outExtension: { '.js': extension },
    splitting,
    format,
    bundle: true,
    platform: 'node',
    target: 'node22.19',
    // An optional peer that this program does not use.
    external: ['@kubernetes/client-node'],
    logLevel: 'silent',
    // CommonJS packages in an ES module ask for it.
    ...(format === 'esm' && {
      banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    }),
  });
  expect(warnings.map(({ text, location }) => `${location?.file}: ${text}`)).toEqual([]);
  return join(elsewhere, `program${extension}`);
}

function run(outfile: string): string {
  return execFileSync(process.execPath, [outfile, serverPath('tools')], { cwd: elsewhere, encoding: 'utf8' });
}

test.each(['esm', 'cjs'] as const)('works when esbuild makes one file of it, as %s', async (format) => {
  expect(run(await bundle(program, format))).toBe(printed);
});

test('works when esbuild puts what is imported later into files of its own', async () => {
  const outfile = await bundle(program, 'esm', true);
  expect(readdirSync(elsewhere)).toContainEqual(expect.stringMatching(/^undici-.*\.mjs$/));
  expect(run(outfile)).toBe(printed);
});

const kit = `
import { once } from 'node:events';
import { createTestGateway } from 'open-mcp-gateway/testing';

async function main() {
  const t = createTestGateway({ a: { tools: [{ name: 'x' }] } });
  await t.connect().start();
  // At the end of the input the reference server, as a program, ends.
  await once(process.stdin.resume(), 'end');
  await t[Symbol.asyncDispose]();
  console.log('done');
}
main();
`;

test.each(['esm', 'cjs'] as const)(
  'the kit for tests leaves the program alone whose file it is in, as %s',
  async (format) => {
    const outfile = await bundle(kit, format);
    expect(execFileSync(process.execPath, [outfile], { cwd: elsewhere, encoding: 'utf8' })).toBe('done\n');
  },
);
