import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseCatalog } from '../../src/catalog/parse-catalog.js';
import { resolve } from './runtimes.js';
import { toCatalog, yamlBlocks } from './yaml-blocks.js';

const page = readFileSync(new URL('seed-blocks.md', import.meta.url), 'utf8');
const blocks = yamlBlocks(page);

const env = { DB_PASSWORD: 'db-password', TOKEN: 'the-token', API_TOKEN: 'api-token', TENANT_ID: 'tenant-7' };

describe('a documented block is valid:', () => {
  test('all of them are here', () => {
    expect(blocks).toHaveLength(14);
  });

  test.each(blocks.map((block, index) => [index + 1, block] as const))('block %d', async (_, block) => {
    const definitions = resolve(await parseCatalog(toCatalog(block)), env);
    expect(definitions.length).toBeGreaterThan(0);
    for (const { env: own, runtime } of definitions) {
      expect(JSON.stringify([own, runtime.spec])).not.toContain('${');
    }
  });

  test('and says what it shows', async () => {
    const [postgres] = resolve(
      await parseCatalog(toCatalog(blocks.find((block) => block.includes('PGHOST')) ?? '')),
      env,
    );
    expect(postgres).toMatchObject({
      id: 'postgres',
      env: { PGHOST: 'localhost', PGPORT: '5432', PGPASSWORD: 'db-password' },
      runtime: { type: 'local-process', spec: { command: 'postgres-mcp' } },
      secrets: new Map([['db-password', '${DB_PASSWORD}']]),
    });
    const mixed = resolve(await parseCatalog(blocks.at(-1) ?? ''), env);
    expect(mixed.map(({ id, runtime }) => [id, runtime.type])).toEqual([
      ['dev-tools', 'local-process'],
      ['prod-db', 'remote-sse'],
      ['sandbox', 'docker'],
    ]);
  });
});
