// What this library does on Windows, played elsewhere: a shell script takes the place of the command processor.
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { LocalProcessRuntime } from '../../src/runtimes/local-process.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { Peer } from '../../src/testing/peer.js';

const { platform } = vi.hoisted(() => {
  const { platform } = process;
  Object.defineProperty(process, 'platform', { value: 'win32' });
  return { platform };
});

const said = "'no-such-program' is not recognized as an internal or external command";
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'windows-'));
  const processor = join(folder, 'cmd.sh');
  await writeFile(processor, `#!/bin/sh\necho "${said}" >&2\nexit 1\n`);
  await chmod(processor, 0o755);
  vi.stubEnv('comspec', processor);
});

afterAll(async () => {
  Object.defineProperty(process, 'platform', { value: platform });
  await rm(folder, { recursive: true });
});

test('a command that the command processor does not find ends at once, with what that said', async () => {
  const runtime = new LocalProcessRuntime();
  const context = createRuntimeContext({ baseDir: folder });
  const peer = new Peer(await runtime.open({ command: 'no-such-program' }, context), 60_000);
  await peer.start();
  const error = await peer.ended();
  expect(error).toMatchObject({ code: 'SERVER_EXITED', exit: { code: 1 }, message: expect.stringContaining(said) });
  expect(peer.errors).toEqual([error]);
});

test('a server that goes on is ended also where there is no taskkill', async () => {
  const processor = join(folder, 'server.sh');
  await writeFile(processor, '#!/bin/sh\nexec sleep 1000\n', { mode: 0o755 });
  vi.stubEnv('comspec', processor);
  const stop_timeout = { stdin: '10ms', sigterm: '10ms', sigkill: '60s' };
  const runtime = new LocalProcessRuntime();
  const transport = await runtime.open({ command: 'server', stop_timeout }, createRuntimeContext({ baseDir: folder }));
  let closes = 0;
  transport.onclose = () => {
    closes += 1;
  };
  await transport.start();
  await transport.close();
  expect(closes).toBe(1);
  expect(() => process.kill(transport.pid as number, 0)).toThrow('ESRCH');
});

test('a working directory that is missing is told', async () => {
  const runtime = new LocalProcessRuntime();
  const spec = { command: 'no-such-program', working_dir: 'gone' };
  const problem = `the working directory ${join(folder, 'gone')} does not exist; create it or change working_dir`;
  const context = createRuntimeContext({ baseDir: folder });
  expect(await runtime.check(spec, context)).toEqual({ ok: false, problems: [problem] });
  await expect(runtime.open(spec, context)).rejects.toThrow(problem);
});
