import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { interpolate } from '../../src/catalog/interpolate.js';
import { parseCatalog } from '../../src/catalog/parse-catalog.js';
import { readJson } from '../../src/catalog/read-json.js';
import { GatewayError } from '../../src/errors.js';
import { resolve } from './runtimes.js';

const pieces = fc.constantFrom(
  'servers',
  'id',
  'runtime',
  'type',
  'local-process',
  'command',
  'env',
  'args',
  ': ',
  ':',
  '- ',
  '-',
  '\n',
  '\n  ',
  '\n    ',
  '  ',
  '\t',
  '{',
  '}',
  '[',
  ']',
  ',',
  '"',
  "'",
  '|',
  '>',
  '#',
  '&a',
  '*a',
  '!!str',
  '!x',
  '? ',
  '<<',
  '---',
  '...',
  '%',
  '@',
  '${A}',
  '${',
  '$${',
  '0',
  '5',
  'true',
  'null',
  '~',
  '__proto__',
  'constructor',
  '\\',
  '\r\n',
  '\u2028',
  '\uD800',
  'é',
);
const texts = fc.oneof(
  fc.array(pieces, { maxLength: 60 }).map((parts) => parts.join('')),
  fc.array(pieces, { maxLength: 60 }).map((parts) => `servers:\n  - ${parts.join('')}`),
  fc.string({ unit: 'binary', maxLength: 200 }),
);

async function settled(run: () => unknown): Promise<GatewayError | undefined> {
  try {
    await run();
    return undefined;
  } catch (error) {
    if (GatewayError.is(error) && error.code === 'CATALOG_INVALID') {
      return error;
    }
    throw error;
  }
}

describe('any input is a catalog or CATALOG_INVALID:', () => {
  test('text', async () => {
    await fc.assert(
      fc.asyncProperty(texts, fc.constantFrom('yaml' as const, 'json' as const, undefined), async (text, format) => {
        const error = await settled(async () => {
          const catalog = await parseCatalog(text, { format });
          expect(Array.isArray(catalog.servers)).toBe(true);
          await settled(() => resolve(catalog));
        });
        for (const issue of error?.issues ?? []) {
          expect(issue.message).not.toBe('');
        }
      }),
      { numRuns: 1500 },
    );
  });

  test('bytes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), async (bytes) => {
        await settled(() => parseCatalog(bytes));
      }),
      { numRuns: 500 },
    );
  });

  test('objects', async () => {
    const value = fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withNullPrototype: true,
      withSparseArray: true,
      withTypedArray: true,
    });
    const entry = fc.record(
      {
        id: fc.oneof(value, fc.constant('a')),
        env: value,
        restart: value,
        tools: value,
        tags: value,
        runtime: fc.oneof(value, fc.record({ type: fc.constant('docker'), image: value, volumes: value })),
        enabled: value,
      },
      { requiredKeys: [] },
    );
    await fc.assert(
      fc.asyncProperty(fc.oneof(value, fc.record({ servers: fc.array(fc.oneof(entry, value)) })), async (catalog) => {
        await settled(() => resolve(catalog));
      }),
      { numRuns: 1500 },
    );
  });
});

test('JSON is read as JSON.parse reads it', () => {
  const noted = fc.oneof(
    fc.json({ maxDepth: 5 }),
    fc.json().map((text) => JSON.stringify(JSON.parse(text), undefined, '\t')),
    fc
      .tuple(fc.json(), fc.nat(), fc.string({ maxLength: 2 }))
      .map(([text, at, piece]) => text.slice(0, at % (text.length + 1)) + piece + text.slice(at % (text.length + 1))),
  );
  fc.assert(
    fc.property(noted, (text) => {
      let expected: unknown;
      let valid = true;
      try {
        expected = JSON.parse(text);
      } catch {
        valid = false;
      }
      const { data, problems } = readJson(text);
      if (problems.length === 0) {
        expect(valid).toBe(true);
        expect(JSON.stringify(data)).toBe(JSON.stringify(expected));
      } else if (valid) {
        // Only what JSON allows and a catalog does not.
        expect(problems.every(({ message }) => /given twice|is not allowed/.test(message))).toBe(true);
      }
    }),
    { numRuns: 2000 },
  );
});

test('a secret shows in no message, wherever it is put and whatever is wrong there', async () => {
  const canary = fc.string({ unit: 'grapheme', minLength: 6, maxLength: 30 }).map((text) => `c4n4ry${text}`);
  const place = fc.constantFrom(
    ...[
      'display_name',
      'description',
      'isolation',
      'idle_timeout',
      'max_message',
      'protocol',
      'enabled',
      'on_reload',
      'env',
      'tags',
      'restart',
      'health',
      'runtime',
    ],
  );
  const specKey = fc.constantFrom(
    'type',
    'command',
    'args',
    'url',
    'headers',
    'transport',
    'port',
    'resources',
    'unknown',
  );
  await fc.assert(
    fc.asyncProperty(
      canary,
      place,
      specKey,
      fc.constantFrom('local-process', 'remote-sse', 'k8s-job', 'k8s-service'),
      async (secret, key, spec, type) => {
        const runtime = { type, [spec]: 'x${CANARY}' };
        const entry = { id: 'a', runtime, ...(key === 'runtime' ? {} : { [key]: '${CANARY}y' }) };
        const error = await settled(() => resolve({ servers: [entry] }, { CANARY: secret }));
        expect(error?.message ?? '').not.toContain('c4n4ry');
        expect(JSON.stringify(error?.issues ?? [])).not.toContain('c4n4ry');
      },
    ),
    { numRuns: 1000 },
  );
});

test('text without "${" comes out of interpolation unchanged, and escaped text comes out unescaped', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('$', '{', '}', 'A', ':', '-', '${', '$${', 'é') }), (text) => {
      const { value, problems } = interpolate(text, { A: '${A}' });
      if (!text.includes('${')) {
        expect([value, problems]).toEqual([text, []]);
      }
      const escaped = text.replaceAll('${', () => '$${');
      if (!text.includes('$${')) {
        expect(interpolate(escaped, {})).toEqual({ value: text, problems: [], used: [] });
      }
    }),
  );
});
