import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { GatewayError } from '../../src/errors.js';
import { Guardian, markVariable } from '../../src/runtimes/local-process/guardian.js';
import { livingMembers } from '../../src/runtimes/local-process/process-group.js';
import { LocalProcessRuntime, type LocalProcessSpec } from '../../src/runtimes/local-process.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { count } from '../support/counts.js';
import { temporaryFolder } from '../support/docker.js';
import { type Host, startHost } from '../support/host.js';
import { createTag, isAlive, livingWithTag, tagVariable, untilLiving } from '../support/processes.js';
import { nodeTrees, shellTrees } from '../support/trees.js';

const trees = { ...shellTrees, ...nodeTrees };
// A guard against hanging: a guardian itself waits for five seconds.
const guardMs = 120_000;
const quick = { stdin: '300ms', sigterm: '300ms', sigkill: '5s' };

async function open(spec: LocalProcessSpec, tag: string) {
  const runtime = new LocalProcessRuntime();
  const transport = await runtime.open(spec, createRuntimeContext({ env: { [tagVariable]: tag } }));
  return { runtime, transport };
}

describe.concurrent('close() leaves nobody of', () => {
  for (const [name, spec] of Object.entries(trees)) {
    test(name, async ({ expect }) => {
      const tag = createTag();
      const { runtime, transport } = await open({ ...spec, stop_timeout: quick }, tag);
      let closes = 0;
      transport.onclose = () => {
        closes += 1;
        expect(livingWithTag(tag)).toEqual([]);
      };
      expect((await untilLiving(tag, (living) => living > 0, 60_000)).length).toBeGreaterThan(0);
      await transport.start();
      await Promise.all([transport.close(), transport.close()]);
      await transport.close();
      expect(livingWithTag(tag)).toEqual([]);
      expect(closes).toBe(1);
      await runtime.close();
    });
  }
});

describe('stop_timeout', () => {
  test('gives each step its time: a server that needs a moment at end of input is not sent a signal', async () => {
    const script = `trap 'echo term >&2; exit 9' TERM; cat >/dev/null; sleep 0.5; exit 5`;
    const { transport } = await open(
      { command: '/bin/sh', args: ['-c', script], stop_timeout: { stdin: '20s' } },
      createTag(),
    );
    let stderr = '';
    (transport.stderr as NodeJS.ReadableStream).on('data', (chunk) => {
      stderr += chunk;
    });
    await transport.start();
    await transport.close();
    expect(stderr).toBe('');
  });

  test('goes to SIGKILL when all steps are 0', async () => {
    const tag = createTag();
    const spec = { ...(shellTrees['a server that ignores both, and stops nothing'] as LocalProcessSpec) };
    const { transport } = await open({ ...spec, stop_timeout: { stdin: '0', sigterm: '0', sigkill: '10s' } }, tag);
    await transport.start();
    await transport.close();
    expect(livingWithTag(tag)).toEqual([]);
  });
});

test.runIf(process.platform === 'linux')(
  'STOP_FAILED names who is left, closes all the same, and keeps the host from nothing',
  async () => {
    const asUser = process.getuid?.() === 0 ? [] : ['--map-root-user'];
    const server = ['sh', '-c', 'echo "{}"; while read line; do :; done'];
    const stop_timeout = { stdin: '0', sigterm: '0', sigkill: '100ms' };
    const spec = { command: 'unshare', args: [...asUser, '--pid', '--fork', ...server], stop_timeout };
    const tag = createTag();
    const { runtime, transport } = await open(spec, tag);
    const ready = Promise.withResolvers<void>();
    let closes = 0;
    transport.onerror = () => ready.resolve();
    transport.onclose = () => {
      closes += 1;
    };
    await transport.start();
    await ready.promise;
    const first = livingWithTag(tag).find((pid) => readFileSync(`/proc/${pid}/comm`, 'latin1') === 'sh\n') as number;
    // The first process of a namespace does not end before somebody has waited for each other one in there.
    const inside = ['--target', String(first), ...(asUser.length > 0 ? ['--user', '--preserve-credentials'] : [])];
    const never = ['sh', '-c', 'sleep 1000 & echo; exec sleep 1000'];
    const holder = spawn('nsenter', [...inside, '--pid', '--no-fork', ...never], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    try {
      await once(holder.stdout, 'data');
      // Until then it is a shell, which does wait for it.
      const comm = () => readFileSync(`/proc/${holder.pid}/comm`, 'latin1');
      await vi.waitFor(() => expect(comm()).toBe('sleep\n'), { timeout: guardMs });
      const failure: unknown = await transport.close().then(
        () => undefined,
        (error: unknown) => error,
      );
      expect(GatewayError.is(failure) && failure.code).toBe('STOP_FAILED');
      expect(String(failure)).toContain(`processes ${first} are still there after SIGKILL`);
      expect(closes).toBe(1);
    } finally {
      holder.kill('SIGKILL');
    }
    await vi.waitFor(() => expect(isAlive(first)).toBe(false), { timeout: guardMs });
    await runtime.close();
  },
  guardMs,
);

test.runIf(process.platform === 'linux')(
  'who is left of a group is found within few turns of a busy event loop',
  async () => {
    const leader = spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' });
    await once(leader, 'spawn');
    let turns = 0;
    let isBusy = true;
    const turn = () => {
      turns += 1;
      for (const end = performance.now() + 5; performance.now() < end; );
      if (isBusy) setImmediate(turn);
    };
    turn();
    expect(await livingMembers(leader.pid as number)).toEqual([leader.pid]);
    isBusy = false;
    leader.kill('SIGKILL');
    // To read of one after the other takes five for each process of the machine.
    const processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).length;
    expect(turns).toBeLessThan(10 + 2 * processes);
  },
);

test.runIf(process.platform === 'linux')('a guardian that is frozen does not hold up close()', async () => {
  const children = () => readFileSync(`/proc/self/task/${process.pid}/children`, 'latin1').trim().split(' ');
  const before = new Set(children());
  const guardian = new Guardian();
  const mark = guardian.expect();
  const pid = Number(children().find((child) => !before.has(child)));
  process.kill(pid, 'SIGSTOP');
  guardian.forget(mark);
  await guardian.close();
  expect(isAlive(pid)).toBe(false);
});

test.runIf(process.platform === 'linux')(
  'a shell that the system does not run leaves a server without a guardian',
  async () => {
    await using folder = await temporaryFolder();
    const shell = join(folder.path, 'sh');
    await writeFile(shell, 'no program of any kind', { mode: 0o755 });
    // Nobody else sees the mount, and it ends with the host.
    const unshare = ['unshare', ...(process.getuid?.() === 0 ? [] : ['--map-root-user']), '--mount'];
    const mount = ['/bin/sh', '-c', 'mount --bind "$0" /bin/sh && exec "$@"', shell];
    const host = startHost('closes', ['local-process', createTag()], [], [...unshare, ...mount]);
    expect(await host.ended(guardMs), host.stderr()).toBe(0);
    expect(await host.lines.next()).toMatchObject({ value: 'closed' });
  },
);

test.runIf(process.platform !== 'win32')(
  'a guardian without a table of the kernel, as on macOS, ends a server that was not yet noted, and all others',
  async () => {
    const guardian = new Guardian('/no-such-folder');
    const start = (mark: string) => {
      const script = "trap '' TERM; while :; do sleep 1; done";
      const env = { PATH: process.env.PATH, [markVariable]: mark };
      const server = spawn('/bin/sh', ['-c', script], { detached: true, stdio: 'ignore', env });
      onTestFinished(() => void server.kill('SIGKILL'));
      return server;
    };
    const [first, second] = [guardian.expect(), guardian.expect()];
    const noted = start(first);
    guardian.guard(noted.pid as number, first);
    const ends = [noted, start(second)].map((server) => once(server, 'exit'));
    await guardian.close();
    expect(await Promise.all(ends)).toEqual([
      [null, 'SIGKILL'],
      [null, 'SIGKILL'],
    ]);
  },
  guardMs,
);

test.runIf(process.platform === 'linux')(
  'the end of stderr is told by a host that was busy when its server ended',
  async () => {
    const { runtime, transport } = await open(
      { command: '/bin/sh', args: ['-c', 'read line; echo last words >&2; exit 3'] },
      createTag(),
    );
    const told = Promise.withResolvers<Error>();
    transport.onerror = told.resolve;
    await transport.start();
    const busy = (isOver: () => boolean) => {
      while (!isOver());
    };
    // The system tells of both ends at once, and of the second before what that has written.
    const other = spawn('/bin/sh', ['-c', 'read line; echo'], { stdio: ['pipe', 'pipe', 'ignore'] });
    other.stdout.once('data', () => {
      void transport.send({ jsonrpc: '2.0', method: 'go' });
      busy(() => !isAlive(transport.pid as number));
      setImmediate(() => {
        const end = performance.now() + 400;
        busy(() => performance.now() > end);
      });
    });
    other.stdin.write('\n');
    busy(() => !isAlive(other.pid as number));
    expect((await told.promise).message).toContain('last words');
    await transport.close();
    await runtime.close();
  },
);

test.runIf(process.platform === 'linux')(
  'a host without descriptors takes nobody for gone whom it cannot look at',
  async () => {
    const leader = spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' });
    await once(leader, 'spawn');
    // Set from outside, since nothing can be started from in here then.
    const limits = spawn('sh', [
      '-c',
      'before=$(prlimit --pid $1 --nofile --output SOFT --noheadings); echo ready; ' +
        'while read -r limit; do prlimit --pid $1 --nofile=$limit:; echo set; done; prlimit --pid $1 --nofile=$before:',
      'sh',
      String(process.pid),
    ]);
    await once(limits.stdout, 'data');
    const inUse = readdirSync('/proc/self/fd').length;
    const looks: number[][] = [];
    for (let more = 0; more < 40; more += 1) {
      limits.stdin.write(`${inUse + more}\n`);
      await once(limits.stdout, 'data');
      looks.push(await livingMembers(leader.pid as number));
    }
    limits.stdin.end();
    expect(await once(limits, 'exit')).toEqual([0, null]);
    leader.kill('SIGKILL');
    expect(looks).toEqual(looks.map(() => [leader.pid]));
  },
);

test('a worker thread of the host that ends, and closes nothing, leaves nobody', async () => {
  const tag = createTag();
  const host = new URL('../fixtures/hosts/exits.ts', import.meta.url);
  const hook = new URL('../support/resolve-sources.mjs', import.meta.url).href;
  const execArgv = ['--no-warnings', '--experimental-transform-types', '--import', hook];
  const worker = new Worker(host, { argv: [tag], execArgv });
  expect(await once(worker, 'exit')).toEqual([0]);
  expect(livingWithTag(tag).length).toBeGreaterThan(0);
  expect(await untilLiving(tag, (living) => living === 0, guardMs)).toEqual([]);
});

describe('a host that is killed by SIGKILL', () => {
  test('leaves nobody, whatever it was doing', { timeout: 240_000 }, async () => {
    const hosts = count(12, 100);
    const tag = createTag();
    let seed = 20_250_318;
    const random = () => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff;
      return seed / 0x7fffffff;
    };
    const kill = async (longestMs: number) => {
      const host = startHost('churn', [tag]);
      await host.lines.next();
      await sleep(random() * longestMs);
      host.child.kill('SIGKILL');
      expect(await host.ended(60_000)).toBe('SIGKILL');
    };
    let seen = 0;
    // On a busy machine none may come to start a server: then others follow, which get more time.
    for (let started = 0; started < hosts || (seen === 0 && started < 5 * hosts); started += 4) {
      const longestMs = 700 * (1 + Math.floor(started / hosts));
      await Promise.all(Array.from({ length: 4 }, () => kill(longestMs)));
      seen = Math.max(seen, livingWithTag(tag).length);
    }
    expect(seen).toBeGreaterThan(0);
    // Guardians first give a server time to end by itself; only then is it certain that nobody appears any more.
    await sleep(6_000);
    expect(await untilLiving(tag, (living) => living === 0, guardMs)).toEqual([]);
  });

  test('leaves nobody that had just been started, and not yet noted', async () => {
    const tag = createTag();
    const host = startHost('unnoted', [tag]);
    await host.lines.next();
    host.child.kill('SIGKILL');
    await host.ended(60_000);
    expect(livingWithTag(tag).length).toBeGreaterThan(0);
    expect(await untilLiving(tag, (living) => living === 0, guardMs)).toEqual([]);
  });
});

describe('a host', () => {
  const clean = async (host: Host) => {
    const code = await host.ended(60_000);
    expect(host.stderr()).toBe('');
    expect(code).toBe(0);
  };

  test.each(['local-process', 'in-process', 'failing', 'wrapper'])('ends by itself after close(): %s', async (kind) => {
    const tag = createTag();
    const host = startHost('closes', [kind, tag]);
    expect(await host.lines.next()).toMatchObject({ value: 'closed' });
    expect(livingWithTag(tag)).toEqual([]);
    await clean(host);
  });

  test('that ends with process.exit() and never closes leaves nobody', async () => {
    const tag = createTag();
    const host = startHost('exits', [tag]);
    await clean(host);
    expect(await untilLiving(tag, (living) => living === 0, guardMs)).toEqual([]);
  });
});
