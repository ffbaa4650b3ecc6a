import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addPackage, pack, root } from './install.js';

const run = promisify(execFile);
// The oldest that the package names, the one it is developed with, and the newest.
const versions = ['22.19.0', '24.21.0', '26.12.1'];
const nodePackage = `node-${process.platform}-${process.arch}`;
let packed: Awaited<ReturnType<typeof pack>>;
let project: string;

beforeAll(async () => {
  packed = await pack();
  project = await mkdtemp(join(tmpdir(), 'open-mcp-gateway-nodes-'));
  const nodes = versions.map((version) => [`node-${version}`, `npm:${nodePackage}@${version}`]);
  const dependencies = { '@modelcontextprotocol/sdk': '^1.30.0', ...Object.fromEntries(nodes) };
  await writeFile(join(project, 'package.json'), JSON.stringify({ private: true, dependencies }));
  await addPackage(project, packed.tarball);
});

afterAll(async () => {
  await rm(packed.folder, { recursive: true, force: true });
  await rm(project, { recursive: true, force: true });
});

const body = `
async function main() {
  const yaml = 'servers: [{ id: tools, runtime: { type: local-process, command: ' + JSON.stringify(process.execPath) +
    ', args: [' + JSON.stringify(process.argv[2]) + '] } }]';
  const catalog = await parseCatalog(yaml);
  const inProcess = () => new Server({ name: 'empty', version: '1' }, { capabilities: {} });
  const servers = [...catalog.servers, { id: 'empty', runtime: { type: 'in-process', server: inProcess } }];
  const gateway = createGateway({ servers });
  try {
    const client = new Client({ name: 'node', version: '1' });
    await client.connect(gateway.connect());
    const { tools } = await client.listTools();
    const { content } = await client.callTool({ name: 'tools__echo', arguments: { text: process.version } });
    await gateway.start('empty');
    console.log(tools.length, content[0].text, gateway.status('empty').phase);
  } finally {
    await gateway.close();
  }
}
main();
`;
const names = [
  ['{ Client }', '@modelcontextprotocol/sdk/client/index.js'],
  ['{ Server }', '@modelcontextprotocol/sdk/server/index.js'],
  ['{ createGateway, parseCatalog }', 'open-mcp-gateway'],
] as const;
const programs = {
  mjs: names.map(([what, from]) => `import ${what} from '${from}';`).join('\n') + body,
  cjs: names.map(([what, from]) => `const ${what} = require('${from}');`).join('\n') + body,
};

describe.each(versions)('Node %s', (version) => {
  test.each(['mjs', 'cjs'] as const)('runs the packed library from a .%s file', async (extension) => {
    const file = join(project, `program.${extension}`);
    await writeFile(file, programs[extension]);
    const node = join(project, `node_modules/node-${version}/bin/node`);
    const { stdout, stderr } = await run(node, [file, join(root, 'test/fixtures/servers/tools.mjs')], { cwd: project });
    expect({ stdout, stderr }).toEqual({ stdout: `3 {"text":"v${version}"} ready\n`, stderr: '' });
  });
});
