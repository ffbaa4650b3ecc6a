import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

/** One check of a scenario, as the tool writes it down. */
export interface ConformanceCheck {
  readonly id: string;
  readonly description: string;
  readonly status: 'SUCCESS' | 'FAILURE' | 'WARNING' | 'INFO' | 'SKIPPED';
  readonly errorMessage?: string;
}

/** A scenario that ran. */
export interface ConformanceScenario {
  readonly name: string;
  /** True when at least one check succeeded, and none failed or warned. */
  readonly ok: boolean;
  /** Empty when the scenario could not be run. */
  readonly checks: readonly ConformanceCheck[];
}

/** What a run of the conformance tool found. */
export interface ConformanceResult {
  readonly exitCode: number | null;
  readonly scenarios: readonly ConformanceScenario[];
  /** How many checks succeeded. */
  readonly passed: number;
  /** How many checks failed or warned. */
  readonly failed: number;
  /** What is wrong, a line each: empty when all is well. */
  readonly problems: readonly string[];
  /** What the tool printed. */
  readonly output: string;
}

export interface ConformanceOptions {
  /**
   * Which scenarios.
   *
   * @default 'active'
   */
  readonly suite?: 'active' | 'all' | 'pending' | undefined;
  /** Instead of a suite: exactly what this revision requires, as the later tool has it. */
  readonly requirements?: '2025-11-25' | '2026-07-28' | undefined;
  /** A file of what is known to fail; the run fails when it lists what passes. */
  readonly expectedFailures?: string | undefined;
  /**
   * A guard against hanging: how long the run may take before it is killed.
   *
   * @default 300_000
   */
  readonly timeoutMs?: number | undefined;
}

const laterTool = fileURLToPath(new URL('../../node_modules/conformance-modern/dist/index.js', import.meta.url));
const tool = fileURLToPath(
  new URL('../../node_modules/@modelcontextprotocol/conformance/dist/index.js', import.meta.url),
);

/** Runs the server scenarios of the conformance tool against a URL. */
export function runConformance(url: string, options: ConformanceOptions = {}): Promise<ConformanceResult> {
  const { requirements, expectedFailures, suite = 'active' } = options;
  const what = requirements === undefined ? ['--suite', suite] : ['--requirements', requirements];
  const known = expectedFailures === undefined ? [] : ['--expected-failures', expectedFailures];
  const program = requirements === undefined ? tool : laterTool;
  return run(program, ['server', '--url', url, ...what, ...known], 'server-', options);
}

/** Runs a client scenario of the conformance tool, as a rule with the program of `test/fixtures/conformance/client.ts`. */
export function runClientConformance(
  scenario: string,
  { command = commandOf('client.ts') }: { readonly command?: string } = {},
): Promise<ConformanceResult> {
  return run(tool, clientArguments(scenario, command), '', {});
}

/** The same for a scenario of the later tool, with `test/fixtures/conformance/stateless-client.ts`. */
export function runStatelessClientConformance(scenario: string): Promise<ConformanceResult> {
  return run(laterTool, clientArguments(scenario, commandOf('stateless-client.ts')), '', {});
}

function commandOf(program: string): string {
  const path = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url));
  const flags = ['--no-warnings', '--experimental-transform-types', '--import', path('support/resolve-sources.mjs')];
  return [process.execPath, ...flags, path(`fixtures/conformance/${program}`)].join(' ');
}

function clientArguments(scenario: string, command: string): readonly string[] {
  // Its own limit of 30 s is not enough for a client on a busy machine.
  return ['client', '--command', command, '--scenario', scenario, '--timeout', '90000'];
}

/** Runs a tool with `args`; each folder of its results is named `prefix`, scenario, time. */
async function run(
  program: string,
  args: readonly string[],
  prefix: string,
  { timeoutMs = 300_000 }: Pick<ConformanceOptions, 'timeoutMs'>,
): Promise<ConformanceResult> {
  const folder = await mkdtemp(join(tmpdir(), 'conformance-'));
  try {
    const child = spawn(process.execPath, [program, ...args, '--output-dir', folder], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    });
    const exit = new Promise<number | null>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', resolve);
    });
    const [exitCode, stdout, stderr] = await Promise.all([exit, text(child.stdout), text(child.stderr)]);
    const output = stdout + stderr;
    return summarize(exitCode, output, await readResults(folder, prefix));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function readResults(folder: string, prefix: string): Promise<Map<string, ConformanceCheck[]>> {
  const results = new Map<string, ConformanceCheck[]>();
  // A name may hold a slash, and is two folders then.
  for (const entry of await readdir(folder, { recursive: true })) {
    const name = new RegExp(`^${prefix}(.+)-\\d{4}-\\d\\d-\\d\\dT[\\d-]+Z$`).exec(entry)?.[1];
    if (name === undefined) continue;
    // A scenario that threw has a folder without a file in it.
    const json = await readFile(join(folder, entry, 'checks.json'), 'utf8').catch(() => '[]');
    results.set(name, JSON.parse(json) as ConformanceCheck[]);
  }
  return results;
}

function summarize(
  exitCode: number | null,
  output: string,
  results: ReadonlyMap<string, ConformanceCheck[]>,
): ConformanceResult {
  const problems: string[] = [];
  const scenarios = [...results].map(([name, checks]): ConformanceScenario => {
    const bad = checks.filter(isBad);
    const ok = bad.length === 0 && checks.some((check) => check.status === 'SUCCESS');
    if (!ok && bad.length === 0) problems.push(`${name}: no check succeeded`);
    problems.push(...bad.map((check) => `${name}: ${check.id}: ${check.errorMessage ?? check.description}`));
    return { name, ok, checks };
  });
  if (scenarios.length === 0) problems.push('no scenario was run');
  if (exitCode !== 0) problems.push(`the conformance tool ended with ${exitCode ?? 'a signal'}`);

  const all = scenarios.flatMap((scenario) => scenario.checks);
  return {
    exitCode,
    scenarios,
    passed: all.filter((check) => check.status === 'SUCCESS').length,
    failed: all.filter(isBad).length,
    problems,
    output,
  };
}

function isBad(check: ConformanceCheck): boolean {
  return check.status === 'FAILURE' || check.status === 'WARNING';
}
