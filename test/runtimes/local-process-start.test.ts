import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GatewayError } from '../../src/errors.js';
import { findCommand } from '../../src/runtimes/local-process/find-command.js';
import { LocalProcessRuntime, type LocalProcessSpec } from '../../src/runtimes/local-process.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { startHost } from '../support/host.js';
import { asNobody } from '../support/nobody.js';
import { createTag, livingWithTag, tagVariable } from '../support/processes.js';
import { serverPath } from '../support/trees.js';

const argument = 'CANARY-IN-ARGS';
const value = 'CANARY-IN-ENV';
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'start-'));
  const script = async (name: string, text: string) => {
    await writeFile(join(folder, name), text);
    await chmod(join(folder, name), 0o755);
  };
  await writeFile(join(folder, 'not-executable'), '#!/bin/sh\n');
  await writeFile(join(folder, 'plain-file'), '');
  await mkdir(join(folder, 'folder'));
  await script('no-interpreter', '#!/no/such/interpreter -x\n');
  await script('no-env-name', '#!/usr/bin/env no-such-interpreter\n');
  await script('carriage-return', '#!/bin/sh\r\nexit 0\r\n');
  await script('env-carriage-return', '#!/usr/bin/env node\r\n');
  await script('no-loader', `\u007fELF${'\0'.repeat(60)}`);
  await script('works', '#!/bin/sh\ncat\n');
  await symlink(join(folder, 'nowhere'), join(folder, 'dangling'));
  await symlink(join(folder, 'circle'), join(folder, 'circle'));
  await mkdir(join(folder, 'closed/inside'), { recursive: true });
  await chmod(join(folder, 'closed'), 0o000);
});

afterAll(async () => {
  await chmod(join(folder, 'closed'), 0o700);
  await rm(folder, { recursive: true });
});

async function failure(spec: LocalProcessSpec, env: Record<string, string> = {}): Promise<GatewayError> {
  const runtime = new LocalProcessRuntime();
  const context = createRuntimeContext({ server: 'orders', baseDir: folder, env: { SECRET: value, ...env } });
  try {
    const full = { args: [argument], ...spec };
    const error: unknown = await runtime.open(full, context).then(
      async (transport) => {
        await transport.close();
        return undefined;
      },
      (thrown: unknown) => thrown,
    );
    if (!GatewayError.is(error)) {
      throw new Error(`expected a GatewayError, not ${String(error)}`);
    }
    expect(error.code).toBe('START_FAILED');
    const shown = inspect(error, { depth: 9, showHidden: true }) + JSON.stringify(error) + error.stack;
    expect(shown).not.toContain(argument);
    expect(shown).not.toContain(value);
    return error;
  } finally {
    await runtime.close();
  }
}

describe('a server that cannot start says what is wrong and how to mend it', () => {
  const cases: readonly [string, LocalProcessSpec, RegExp, Record<string, string>?][] = [
    [
      'a command that is nowhere',
      { command: 'no-such-program' },
      /command "no-such-program" was not found; install it or give its path/,
    ],
    ['an empty PATH', { command: 'sh' }, /command "sh" was not found.*PATH is empty/, { PATH: '' }],
    [
      'a path that leads nowhere',
      { command: './missing' },
      /command .*\/missing does not exist; install it or change command/,
    ],
    ['a dangling link', { command: './dangling' }, /command .*\/dangling does not exist/],
    ['links in a circle', { command: './circle' }, /command .*\/circle cannot be looked at \(ELOOP\); change command/],
    [
      'a directory that is missing',
      { command: 'sh', working_dir: 'gone' },
      /working directory .*\/gone does not exist; create it or change working_dir/,
    ],
    [
      'a directory that is a file',
      { command: 'sh', working_dir: 'plain-file' },
      /working directory .*\/plain-file is not a directory; change working_dir/,
    ],
    [
      'a file that is not executable',
      { command: './not-executable' },
      /command .*\/not-executable is not executable; run chmod \+x/,
    ],
    [
      'one in PATH',
      { command: 'not-executable' },
      /command .*\/not-executable is not executable; run chmod \+x/,
      { PATH: '.' },
    ],
    [
      'a command that is a directory',
      { command: './folder' },
      /command .*\/folder is a directory, not a program; change command/,
    ],
    [
      'an interpreter that is missing',
      { command: './no-interpreter' },
      /needs the interpreter \/no\/such\/interpreter of its first line, which was not found; install it/,
    ],
    [
      'one that env looks up',
      { command: './no-env-name' },
      /needs the interpreter no-such-interpreter of its first line/,
    ],
    [
      'a first line with a carriage return',
      { command: './carriage-return' },
      /ends with a carriage return; save the file with LF/,
    ],
    [
      'a first line for env with a carriage return',
      { command: './env-carriage-return' },
      /ends with a carriage return; save the file with LF/,
    ],
    [
      'a program that is too long',
      { command: 'sh', args: [argument, 'x'.repeat(200_000)] },
      /args and environment are too long together; shorten them.*E2BIG/,
    ],
    ['a NUL in args', { command: 'sh', args: [`${argument}\0`] }, /a NUL character stands in .* remove it/],
    ['a NUL in env', { command: 'sh' }, /a NUL character stands in .* remove it/, { BROKEN: `${value}\0` }],
    ['a NUL in command', { command: 'sh\0x' }, /command "sh\ufffdx" was not found/],
  ];
  test.each(cases)('%s', async (_name, spec, message, env) => {
    const { message: text } = await failure(spec, env);
    expect(text).toMatch(message);
    expect(text).toMatch(/^"orders": /);
    expect(text).not.toContain('\0');
  });

  test('what lies in a folder that may not be entered is not said to be missing', async () => {
    using _ = asNobody();
    const why = /cannot be looked at \(EACCES\): a folder above it may not be entered; change its rights, or change/;
    for (const spec of [{ command: './closed/inside' }, { command: 'sh', working_dir: 'closed/inside' }]) {
      const problem = findCommand(spec.command, resolve(folder, spec.working_dir ?? '/'), folder, '/bin');
      expect(problem).toEqual({ problem: expect.stringMatching(why) });
    }
  });

  test('folders of PATH that cannot be looked into are told where a command is not found', () => {
    using _ = asNobody();
    expect(findCommand('tool', '/', folder, `/bin:${folder}/closed/inside:/usr/bin`)).toEqual({
      problem: expect.stringContaining('(its PATH has 3 folders, 1 of which cannot be looked into: EACCES)'),
    });
  });

  test('check() finds the same', async () => {
    const runtime = new LocalProcessRuntime();
    for (const [, spec, message, env] of cases.slice(0, 14)) {
      const context = createRuntimeContext({ baseDir: folder, env: { SECRET: value, ...env } });
      const { ok, problems } = await runtime.check(spec, context);
      expect(ok).toBe(false);
      expect(problems.join()).toMatch(message);
    }
    expect(await runtime.check({ command: './works' }, createRuntimeContext({ baseDir: folder }))).toEqual({
      ok: true,
      problems: [],
    });
    await runtime.close();
  });
});

describe('what a server gets', () => {
  async function environment(spec: Partial<LocalProcessSpec>, env: Record<string, string>): Promise<string[]> {
    const host = { PATH: process.env.PATH, HOME: '/home/x', LC_ALL: 'C', SECRET: value, EVIL: '() { :; }', EXTRA: '1' };
    const runtime = new LocalProcessRuntime({ env: host });
    const print =
      'process.stdout.write(JSON.stringify({ jsonrpc: "2.0", method: "env", params: process.env }) + "\\n")';
    const transport = await runtime.open(
      { command: process.execPath, args: ['-e', print], ...spec },
      createRuntimeContext({ env }),
    );
    const closed = new Promise<void>((resolve) => {
      transport.onclose = resolve;
    });
    let names: string[] = [];
    transport.onmessage = (message) => {
      names = Object.keys('params' in message ? (message.params ?? {}) : {}).sort();
    };
    await transport.start();
    await closed;
    await runtime.close();
    return names;
  }

  test('is a short list, its own env, and the mark of the guardian', async () => {
    expect(await environment({}, { OWN: '1' })).toEqual(['HOME', 'LC_ALL', 'OPEN_MCP_GATEWAY_MARK', 'OWN', 'PATH']);
    expect(await environment({ inherit_env: ['EXTRA'] }, {})).toEqual([
      'EXTRA',
      'HOME',
      'LC_ALL',
      'OPEN_MCP_GATEWAY_MARK',
      'PATH',
    ]);
    expect(await environment({ inherit_env: true }, {})).toEqual([
      'EXTRA',
      'HOME',
      'LC_ALL',
      'OPEN_MCP_GATEWAY_MARK',
      'PATH',
      'SECRET',
    ]);
  });

  test('describe() names the same variables, and no values', () => {
    const runtime = new LocalProcessRuntime({ env: { PATH: '/bin', SECRET: value } });
    const described = runtime.describe(
      { command: 'x', args: ['-v'] },
      { server: 's', env: { OWN: value }, baseDir: '/' },
    );
    expect(described).toEqual({ argv: ['x', '-v'], working_dir: '/', env: ['OPEN_MCP_GATEWAY_MARK', 'OWN', 'PATH'] });
  });

  test('arguments arrive as they are: no shell looks at them', async () => {
    const args = ['$HOME', '`id`', '; exit 1', '*', '"', "'", '\\', '', 'a b', '-', '--', 'é漢', '\n'];
    const runtime = new LocalProcessRuntime();
    const print =
      'process.stdout.write(JSON.stringify({ jsonrpc: "2.0", method: "args", params: { args: process.argv.slice(1) } }) + "\\n")';
    const transport = await runtime.open(
      { command: process.execPath, args: ['-e', print, '--', ...args] },
      createRuntimeContext(),
    );
    const closed = new Promise<void>((resolve) => {
      transport.onclose = resolve;
    });
    let got: unknown;
    transport.onmessage = (message) => {
      got = 'params' in message ? message.params : undefined;
    };
    await transport.start();
    await closed;
    await runtime.close();
    expect(got).toEqual({ args });
  });
});

describe('a server that ends', () => {
  const request = (id: number, method: string, params: Record<string, unknown>) => ({
    jsonrpc: '2.0' as const,
    id,
    method,
    params,
  });

  async function run(method: string, params: Record<string, unknown>, before = 0) {
    const runtime = new LocalProcessRuntime();
    const transport = await runtime.open(
      { command: process.execPath, args: [serverPath('echo')] },
      createRuntimeContext(),
    );
    const log: string[] = [];
    const errors: GatewayError[] = [];
    const closed = new Promise<void>((resolve) => {
      transport.onclose = () => {
        log.push('close');
        resolve();
      };
    });
    transport.onmessage = () => log.push('message');
    transport.onerror = (error) => {
      log.push('error');
      errors.push(error as GatewayError);
    };
    await transport.start();
    for (let id = 1; id <= before; id += 1) await transport.send(request(id, 'ping', {}));
    await transport.send(request(99, 'stderr', { text: 'famous last words\n' }));
    await transport.send(request(100, method, params));
    await closed;
    const late = await transport.send(request(101, 'late', {})).catch((error: unknown) => error);
    await transport.close();
    await runtime.close();
    return { log, reason: errors[0], late: late as GatewayError };
  }

  test.each([
    ['with a code, between two answers', 'exit', { code: 3 }, { code: 3 }],
    ['with code 0', 'exit', { code: 0 }, { code: 0 }],
    ['in the middle of a line', 'half', { code: 4 }, { code: 4 }],
    ['by a signal', 'kill', { signal: 'SIGKILL' }, { signal: 'SIGKILL' }],
    ['by a crash', 'kill', { signal: 'SIGSEGV' }, { signal: 'SIGSEGV' }],
  ])('%s: what it said arrives, then the reason, then one onclose', async (_name, method, params, exit) => {
    const { log, reason, late } = await run(method, params, 2);
    expect(log).toEqual(['message', 'message', 'message', 'error', 'close']);
    expect(reason).toMatchObject({ code: 'SERVER_EXITED', exit: { ...exit, stderrTail: 'famous last words\n' } });
    expect(reason?.message).toContain('famous last words');
    expect(late).toMatchObject({ code: 'SERVER_EXITED', delivered: false });
  });

  test('while 200 sends wait behind a full pipe: each settles with how it ended', async () => {
    const runtime = new LocalProcessRuntime();
    // Reads nothing, and dies when it is told.
    const script =
      'process.on("SIGUSR2", () => { console.error("shot"); process.exit(5) }); console.log("{}"); setInterval(() => {}, 9e5)';
    const transport = await runtime.open({ command: process.execPath, args: ['-e', script] }, createRuntimeContext());
    const ready = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<void>();
    let closes = 0;
    transport.onerror = () => ready.resolve();
    transport.onclose = () => {
      closes += 1;
      closed.resolve();
    };
    await transport.start();
    await ready.promise;
    const text = 'x'.repeat(64 * 1024);
    const sends = Array.from({ length: 200 }, (_, id) =>
      transport.send(request(id, 'big', { text })).then(
        () => undefined,
        (error: unknown) => error as GatewayError,
      ),
    );
    await sends[0];
    process.kill(transport.pid as number, 'SIGUSR2');
    const errors = (await Promise.all(sends)).filter((error) => error !== undefined);
    expect(errors.length).toBeGreaterThan(150);
    for (const error of errors) {
      expect(error).toMatchObject({ code: 'SERVER_EXITED', exit: { code: 5, stderrTail: 'shot\n' } });
    }
    expect(errors.at(-1)?.delivered).toBe(false);
    await closed.promise;
    await transport.close();
    expect(closes).toBe(1);
    await runtime.close();
  });

  test('before start(): what it said is there all the same', async () => {
    const runtime = new LocalProcessRuntime();
    const script = 'console.log(JSON.stringify({ jsonrpc: "2.0", method: "bye" })); process.exitCode = 6';
    const transport = await runtime.open({ command: process.execPath, args: ['-e', script] }, createRuntimeContext());
    while (
      (await transport.health?.(AbortSignal.timeout(20_000)).then(
        () => true,
        () => false,
      )) === true
    ) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const log: string[] = [];
    const closed = new Promise<void>((resolve) => {
      transport.onclose = resolve;
    });
    transport.onmessage = (message) => log.push('method' in message ? message.method : '');
    transport.onerror = (error) => log.push(String((error as GatewayError).exit?.code));
    await transport.start();
    await closed;
    expect(log).toEqual(['bye', '6']);
    await runtime.close();
  });
});

test('of many starts at once each has a turn of the event loop of its own', async () => {
  let turn = 0;
  let timer = setImmediate(function next() {
    turn += 1;
    timer = setImmediate(next);
  });
  const turns: number[] = [];
  const env = {
    get PATH() {
      // It is read just before the program is started.
      turns.push(turn);
      return process.env.PATH;
    },
  };
  const runtime = new LocalProcessRuntime({ env });
  const spec = { command: 'cat' };
  const opened = await Promise.all(Array.from({ length: 6 }, () => runtime.open(spec, createRuntimeContext())));
  clearImmediate(timer);
  await Promise.all(opened.map((transport) => transport.close()));
  await runtime.close();
  expect(turns).toHaveLength(6);
  expect(new Set(turns).size).toBe(6);
});

test.runIf(process.platform === 'linux')('starts that fail for want of descriptors keep none', async () => {
  const few = ['/bin/sh', '-c', 'ulimit -n 100; exec "$@"', 'sh'];
  const host = startHost('descriptors-come-and-go', [], [], few);
  expect(JSON.parse((await host.lines.next()).value ?? host.stderr())).toEqual({
    few: [expect.stringContaining('the host has too many open files; raise the limit (ulimit -n) (EMFILE)')],
    enough: 'started',
    kept: 0,
  });
  expect(await host.ended(120_000)).toBe(0);
});

test('open() that is aborted while the system starts the program rejects with the reason, and leaves nobody', async () => {
  const tag = createTag();
  const reason = new Error('enough');
  const abort = new AbortController();
  let reads = 0;
  const env = {
    get PATH() {
      reads += 1;
      // It is read just before the program is started.
      abort.abort(reason);
      return process.env.PATH;
    },
  };
  const runtime = new LocalProcessRuntime({ env });
  const context = createRuntimeContext({ signal: abort.signal, env: { [tagVariable]: tag } });
  // Ends neither with its input nor by SIGTERM.
  const spec = {
    command: process.execPath,
    args: ['-e', 'process.on("SIGTERM", () => {}); setInterval(() => {}, 9e5)'],
  };
  await expect(runtime.open(spec, context)).rejects.toBe(reason);
  expect(reads).toBe(1);
  expect(livingWithTag(tag)).toEqual([]);
  await runtime.close();
});
