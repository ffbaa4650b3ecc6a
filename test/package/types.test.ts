import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createPackedProject, type PackedProject, root } from './packed-project.js';

let project: PackedProject;

beforeAll(() => {
  project = createPackedProject();
  project.link('@types/node');
  project.link('@modelcontextprotocol/client');
});

afterAll(() => project?.[Symbol.dispose]());

const program = `
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { Client as ClientV2 } from '@modelcontextprotocol/client';
import { createGateway, GatewayError, type CatalogInput, type RuntimeFactory } from 'open-mcp-gateway';
import { runtimeContract } from 'open-mcp-gateway/testing';

const gateway = createGateway({ servers: [{ id: 'a', runtime: { type: 'local-process', command: 'a' } }] });
export async function use() {
  await new Client({ name: 'a', version: '1' }).connect(gateway.connect('a'));
  await new ClientV2({ name: 'a', version: '1' }).connect(gateway.connect());
  return [GatewayError.is(1), runtimeContract];
}
export type Types = [CatalogInput, RuntimeFactory];
// @ts-expect-error: without types every mistake would pass.
createGateway({ servers: [] }, { onEvents() {} });
`;
/** What the compiler says about a project with these settings. */
async function compile(files: Readonly<Record<string, string>>, options: object): Promise<string> {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(project.folder, name), text);
  const config = {
    compilerOptions: {
      target: 'ES2022',
      lib: ['ES2024', 'ESNext.Disposable'],
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      types: ['node'],
      ...options,
    },
    files: Object.keys(files),
  };
  writeFileSync(join(project.folder, 'tsconfig.json'), JSON.stringify(config));
  const tsc = join(root, 'node_modules/.bin/tsc');
  const { stdout } = await promisify(execFile)(tsc, ['-p', project.folder]).catch((error: { stdout: string }) => error);
  return stdout;
}

test.each([
  // Both kinds in one run of the compiler, which resolves what each of them imports in its own way.
  ['node16, ESM and CommonJS', ['program.mts', 'program.cts'], { module: 'node16', moduleResolution: 'node16' }],
  ['bundler', ['program.ts'], { module: 'esnext', moduleResolution: 'bundler' }],
])(
  'TypeScript projects with %s use the types of both entries, with clients of both SDKs',
  async (_, files, options) => {
    expect(await compile(Object.fromEntries(files.map((file) => [file, program])), options)).toBe('');
  },
);
