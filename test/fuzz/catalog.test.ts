import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { parseCatalog } from '../../src/catalog/parse-catalog.js';
import { GatewayError } from '../../src/errors.js';
import { createGateway } from '../../src/gateway.js';
import { collectGarbage } from '../support/heap.js';
import { type Chance, count, createChance, mutate } from './seed.js';

type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
type Parts = Record<string, (chance: Chance) => Json>;

const text = (chance: Chance) =>
  chance.pick(['a', 'node', '\x9b', '${A}', '${B:-b}', '$${', 'é漢', 'a b', '-x', "it's", '#', '']);
const texts = (chance: Chance) => Array.from({ length: chance.below(4) }, () => text(chance));
const map = (chance: Chance) => Object.fromEntries(texts(chance).map((value, n) => [`K${n}`, value]));
const duration = (chance: Chance) => chance.pick(['500ms', '30s', '5m', '0', '1', '-1s', '5 m', '99999999999h']);
const size = (chance: Chance) => chance.pick(['16MiB', '1KiB', '64', '1.5GiB', '0', '-1']);

const specs: Record<string, Parts> = {
  'local-process': { command: text, args: texts, working_dir: text, inherit_env: () => true },
  'remote-sse': {
    url: (chance) => chance.pick(['http://localhost:1/mcp', 'https://x/${A}', 'ftp://x', 'x', 'http://u:p@x/']),
    headers: map,
    transport: (chance) => chance.pick(['auto', 'sse', 'streamable-http', 'other']),
  },
  docker: {
    image: (chance) => chance.pick(['a:1', 'x/y@sha256:0', 'A', '${A}', '']),
    volumes: (chance) => texts(chance).map((one) => `${one}:/x:ro`),
    memory: size,
    cpus: (chance) => chance.pick(['1', '0.5', 'x']),
    cap_add: texts,
    env_file: text,
    network: text,
  },
  'k8s-job': {
    namespace: text,
    image: text,
    resources: (chance) => ({ limits: { memory: size(chance), cpu: '500m' } }),
    node_selector: map,
    ttl: duration,
  },
  'k8s-service': {
    namespace: text,
    service_name: text,
    port: (chance) => chance.pick<Json>([80, '80', 'web', -1, 1.5]),
  },
  'in-process': { server: text },
  other: {},
};

const fields: Parts = {
  display_name: text,
  description: text,
  tags: texts,
  env: map,
  isolation: (chance) => chance.pick(['caller', 'shared', 'principal', 'request', 'none']),
  idle_timeout: duration,
  enabled: (chance) => chance.pick<Json>([true, false, 'yes', 1]),
  start_timeout: duration,
  restart: (chance) => ({ max: chance.below(9), window: duration(chance), backoff: duration(chance) }),
  max_message: size,
  health: (chance) => ({ interval: duration(chance), failures: chance.below(4) }),
  protocol: (chance) => chance.pick(['auto', 'legacy', 'modern', 'x']),
  tools: (chance) => ({ allow: texts(chance), deny: ['drop_*'] }),
};

const strange: readonly Json[] = [
  null,
  0,
  -1,
  Number.MAX_VALUE,
  '',
  'true',
  '\u0000',
  '${',
  '${A',
  '${A:-${B}}',
  '__proto__',
  'x'.repeat(300),
  [],
  {},
  [[[[[]]]]],
  { __proto: 1 },
  { constructor: 'x' },
];

function makeCatalog(chance: Chance): Json {
  const some = (parts: Parts, share: number) =>
    Object.fromEntries(
      Object.entries(parts)
        .filter(() => chance() < share)
        .map(([key, make]) => [key, make(chance)]),
    );
  const servers = Array.from({ length: chance.below(4) }, (_, n) => {
    const type = chance.pick(Object.keys(specs));
    return {
      id: chance.pick([`s${n}`, `s${n}`, 'a', '_', 'a__b', 'x'.repeat(60), 'É']),
      ...some(fields, 0.2),
      runtime: { type, ...some(specs[type] as Parts, 0.8) },
    };
  });
  return { servers };
}

/** Changes the catalog's tree: values, keys, whole branches. */
function disturb(value: Json, chance: Chance): Json {
  if (chance() < 0.04) return chance.pick(strange);
  if (Array.isArray(value)) {
    const items = value.map((item) => disturb(item, chance));
    if (chance() < 0.05) items.push(...items, chance.pick(strange));
    return items;
  }
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, item]): [string, Json] => [
    chance() < 0.04 ? chance.pick([`${key}s`, key.slice(1), key.toUpperCase(), 'toString', '<<', '']) : key,
    disturb(item, chance),
  ]);
  if (chance() < 0.04) entries.push([chance.pick(['extra', '__proto__', 'id', 'runtime']), chance.pick(strange)]);
  return Object.fromEntries(entries);
}

function write(catalog: Json, chance: Chance): string {
  if (chance() < 0.3) return JSON.stringify(catalog, undefined, chance.below(3));
  return stringify(catalog, {
    indent: 1 + chance.below(4),
    lineWidth: chance.pick([0, 20, 80]),
    flowCollectionPadding: chance() < 0.5,
    collectionStyle: chance.pick(['any', 'block', 'flow'] as const),
    defaultStringType: chance.pick(['PLAIN', 'QUOTE_DOUBLE', 'QUOTE_SINGLE', 'BLOCK_LITERAL'] as const),
  });
}

/** What is wrong with how the catalog is judged; undefined when nothing is. */
async function judge(document: Uint8Array): Promise<{ readonly complaint?: string; readonly accepted: boolean }> {
  try {
    const catalog = await parseCatalog(document);
    const gateway = createGateway(catalog as never, { env: { A: 'value of A' } });
    await gateway.close();
    return { accepted: true };
  } catch (error) {
    if (!GatewayError.is(error) || error.code !== 'CATALOG_INVALID') {
      return { accepted: false, complaint: `threw ${error instanceof Error ? error.stack : String(error)}` };
    }
    const issues = error.issues ?? [];
    if (issues.length === 0) return { accepted: false, complaint: 'says nothing of what is wrong' };
    for (const issue of issues) {
      const { path, message, line, column } = issue;
      const placed = (line ?? 0) > 0 && (column ?? 0) > 0;
      // A document that is empty, or no text at all, has no place within.
      if (!placed && path !== '') return { accepted: false, complaint: `no place: ${JSON.stringify(issue)}` };
      if (message.length < 5 || message.length > 2_000) return { accepted: false, complaint: `unclear: ${message}` };
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these must not get into a log
      if (/[\0-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]/.test(message))
        return { accepted: false, complaint: `raw: ${JSON.stringify(message)}` };
    }
    return { accepted: false };
  }
}

test('what a terminal would obey is written out in messages', async () => {
  // As fuzzing found it.
  const error = await parseCatalog('{"servers":[{"id":"s1\x7f\x9b2J\u202e","runtime":{"type":"other"}}]}')
    .then(
      (catalog) => createGateway(catalog as never),
      (thrown: unknown) => thrown,
    )
    .catch((thrown: unknown) => thrown);
  expect(String(error)).toContain('"s1\\u007f\\u009b2J\\u202e"');
});

test('catalogs of all kinds, disturbed in their tree and in their text: accepted, or told what is wrong and where', {
  timeout: 900_000,
}, async () => {
  const chance = createChance('catalogs');
  const documents = count(10_000, 100_000);
  const warm = Math.floor(documents / 4);
  let accepted = 0;
  let heapBefore = 0;
  for (let run = 0; run < documents; run += 1) {
    const whole = write(disturb(makeCatalog(chance), chance), chance);
    const bytes = Buffer.from(whole);
    const document = chance() < 0.5 ? bytes : mutate(bytes, chance, 1 + chance.below(4));
    const judged = await judge(document);
    accepted += Number(judged.accepted);
    if (judged.complaint !== undefined) {
      expect.fail(`document ${run}: ${judged.complaint}\n${document.toString('base64')}`);
    }
    if (run === warm) {
      collectGarbage();
      heapBefore = process.memoryUsage().heapUsed;
    }
  }
  collectGarbage();
  const grown = process.memoryUsage().heapUsed - heapBefore;
  console.log(`catalogs: ${accepted} of ${documents} accepted, heap grew by ${Math.round(grown / 1024)} KiB`);
  expect(accepted).toBeGreaterThan(documents / 50);
  expect(accepted).toBeLessThan(documents * 0.9);
  // Nothing of a document stays: what grows is compiled code.
  expect(grown).toBeLessThan(16 * 1024 * 1024);
});
