import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { envelopeSchema } from '../../src/catalog/envelope.js';
import { createGateway, parseCatalog } from '../../src/index.js';
import { resolve } from './runtimes.js';
import { toCatalog, yamlBlocks } from './yaml-blocks.js';

const [page, reference] = ['catalog', 'catalog-reference'].map((name) =>
  readFileSync(new URL(`../../docs/${name}.md`, import.meta.url), 'utf8'),
) as [string, string];

describe('docs/catalog.md', () => {
  test.each(yamlBlocks(page).map((block, index) => [index + 1, block] as const))(
    'block %d is valid',
    async (_, block) => {
      const text = block.includes('servers:') ? block : toCatalog(block);
      expect(resolve(await parseCatalog(text), { DB_PASSWORD: 'x', SEARCH_KEY: 'y' })).toBeInstanceOf(Array);
    },
  );

  test('has a row for every key, and an example with all of them', async () => {
    const keys = Object.keys(envelopeSchema.entries);
    const rows = [...page.matchAll(/^\| `(\w+)` \|/gm)].map(([, key]) => key);
    expect(rows).toEqual(expect.arrayContaining(keys));
    for (const nested of ['restart', 'health', 'tools'] as const) {
      expect(rows).toEqual(expect.arrayContaining(Object.keys(envelopeSchema.entries[nested].wrapped.entries)));
    }
    const full = yamlBlocks(page).find((block) => block.includes('id: everything')) ?? '';
    const { servers } = await parseCatalog(toCatalog(full));
    expect(Object.keys(servers[0] ?? {}).sort()).toEqual(keys.sort());
  });

  test('shows the messages of a bad catalog as they are', async () => {
    const shown = [...page.matchAll(/```text\n(?:catalog\.yaml|the catalog) is not valid, [^\n]*\n(.*?)```/gs)].map(
      ([, lines]) => lines,
    );
    const told = async (text: string) => {
      try {
        createGateway(await parseCatalog(text), { env: {} });
      } catch (error) {
        return `${(error as Error).message.split('\n').slice(1).join('\n')}\n`;
      }
    };
    const misspelt = `servers:
  - id: orders
    idle_timeout: 5m
    isolaton: shared
    env:
      PGPORT: 5432
    runtime: { type: local-process, command: orders-mcp }`;
    const unknown = `servers:
  - id: a
    runtime: { type: dokcer, image: x }
  - id: b
    env: { TOKEN: "\${TOKEN}" }
    runtime: { type: local-process, command: b, arg: [] }`;
    expect(shown).toEqual([await told(misspelt), await told(unknown)]);
  });

  test.each([
    ['idle_timeout', '5m', 'idleTimeoutMs', 300_000],
    ['start_timeout', '30s', 'startTimeoutMs', 30_000],
    ['pull_timeout', '10m', 'pullTimeoutMs', 600_000],
    ['request_timeout', '10m', 'requestTimeoutMs', 600_000],
    ['list_timeout', '10s', 'listTimeoutMs', 10_000],
    ['max_message', '16MiB', 'maxMessageBytes', 16_777_216],
    ['max_lifetime', '0', 'maxLifetimeMs', 0],
  ] as const)('tells the real default of %s', (key, shown, field, value) => {
    for (const text of [page, reference]) {
      expect(text).toMatch(new RegExp(`^\\| \`${key}\` \\| [^|]+ \\| \`${shown}\` \\|`, 'm'));
    }
    const [definition] = resolve({ servers: [{ id: 'a', runtime: { type: 'local-process', command: 'x' } }] });
    expect(definition?.[field]).toBe(value);
  });
});
