import { existsSync, readFileSync } from 'node:fs';
import { expect, test, vi } from 'vitest';
import type { TestModule } from 'vitest/node';
import { ProofReporter, readProofs } from './proof-reporter.js';

const page = readFileSync(new URL('../docs/reliability.md', import.meta.url), 'utf8');
const proofs = readProofs(page);

function played(file: string, tests: readonly (readonly [string, string])[]): TestModule {
  const allTests = () => tests.map(([name, state]) => ({ name, result: () => ({ state }) }));
  return { moduleId: new URL(`../${file}`, import.meta.url).pathname, children: { allTests } } as never;
}

/** The exit code of a run with these results. */
function outcome(modules: readonly TestModule[]): unknown {
  const before = process.exitCode;
  process.exitCode = undefined;
  try {
    new ProofReporter(() => {}).onTestRunEnd(modules);
    return process.exitCode;
  } finally {
    process.exitCode = before;
  }
}

test('the page has a row for each of at least 120 faults, and none twice', () => {
  const rows = page.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| Fault'));
  expect(proofs).toHaveLength(rows.length);
  expect(proofs.length).toBeGreaterThanOrEqual(120);
  expect(new Set(proofs.map(({ file, name }) => `${file} ${name}`)).size).toBe(proofs.length);
});

test('each row of the page on security names its proof', () => {
  const security = readFileSync(new URL('../docs/security.md', import.meta.url), 'utf8');
  const table = security.slice(security.indexOf('| Danger |')).split('\n\n')[0] ?? '';
  const rows = table.split('\n').slice(2);
  expect(rows.length).toBeGreaterThan(20);
  expect(rows.filter((row) => readProofs(row).length === 0)).toEqual([]);
});

test('every file that the pages name is one that a run takes', () => {
  const named = ['docs/security.md', 'docs/protocol.md', 'README.md'].flatMap((path) =>
    readProofs(readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')),
  );
  const files = [...proofs, ...named].map(({ file }) => file);
  expect(files.filter((file) => !existsSync(new URL(`../${file}`, import.meta.url)))).toEqual([]);
  expect(files.filter((file) => !file.endsWith('.test.ts') || /^test\/(bench|frameworks)\//.test(file))).toEqual([]);
});

test('the table of the README has a proof in each row', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const rows = readme.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| Promise'));
  expect(rows.length).toBeGreaterThan(0);
  expect(rows.filter((row) => readProofs(row).length === 0)).toEqual([]);
});

test('a run fails when a test that the page names is missing or did not pass, and for no other', () => {
  const [first] = proofs;
  if (first === undefined) {
    throw new Error('the page has no row');
  }
  const all = proofs.filter(({ file }) => file === first.file).map(({ name }) => [name, 'passed'] as const);
  expect(outcome([played(first.file, all)])).toBeUndefined();
  expect(outcome([played('test/errors.test.ts', [])])).toBeUndefined();
  expect(outcome([played(first.file, all.slice(1))])).toBe(1);
  expect(outcome([played(first.file, [[first.name, 'failed'], ...all.slice(1)])])).toBe(1);
  expect(outcome([played(first.file, [[first.name, 'passed'], ...all])])).toBeUndefined();
});

test('the number of rounds at the head of a name is left out', () => {
  const file = 'test/endpoint/property.test.ts';
  const [proof] = readProofs(readFileSync(new URL('../README.md', import.meta.url), 'utf8')).filter(
    (p) => p.file === file,
  );
  expect(outcome([played(file, [[`10,000 ${proof?.name}`, 'passed']])])).toBeUndefined();
  expect(outcome([played(file, [[`x ${proof?.name}`, 'passed']])])).toBe(1);
});

test('a suite that is left out counts only where everything must run', () => {
  const file = proofs[0]?.file ?? '';
  vi.stubEnv('CI', undefined);
  expect(outcome([played(file, [['needs something', 'skipped']])])).toBeUndefined();
  vi.stubEnv('CI', 'true');
  expect(outcome([played(file, [['needs something', 'skipped']])])).toBe(1);
  vi.unstubAllEnvs();
});
