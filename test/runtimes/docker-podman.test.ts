import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { gatewayLabel } from '../../src/runtimes/docker/labels.js';
import { DockerRuntime, type DockerSpec } from '../../src/runtimes/docker.js';
import { createRuntimeContext, referenceServerPath, runtimeContract } from '../../src/testing/index.js';
import { Peer } from '../../src/testing/peer.js';
import { count } from '../support/counts.js';
import { createName } from '../support/docker.js';
import { startHost } from '../support/host.js';
import { Podman, podmanImage } from '../support/podman.js';
import { describeWithPodman } from '../support/real-parts.js';

/** What is tried every day; the long form tries all. */
const daily =
  /^rule 1: open\(\) that is aborted (?:at once|when the)|^rule [35]|^rule 4: when|^rule 7: every|^messages: 4 MiB|^factory: [^c]/;

describeWithPodman('docker: Podman as the engine', () => {
  let podman: Podman;
  beforeAll(async () => {
    podman = await Podman.start();
  }, 180_000);
  afterAll(() => podman[Symbol.asyncDispose]());

  const create = () => new DockerRuntime({ host: podman?.host ?? 'unix:///not/yet' });
  const shell = (script: string): DockerSpec => ({
    image: podmanImage,
    command: '/bin/sh',
    args: ['-c', script],
    network: 'none',
  });

  /** The server of a spec, once it has ended by itself. */
  async function endOf(spec: DockerSpec, overrides: Parameters<typeof createRuntimeContext>[0] = {}) {
    const runtime = create();
    const peer = new Peer(await runtime.open(spec, createRuntimeContext(overrides)), 60_000);
    await peer.start();
    const error = await peer.ended();
    await runtime.close();
    return error;
  }

  /** How many containers of a gateway there are. */
  async function countOf(gatewayId: string): Promise<number> {
    const filters = encodeURIComponent(JSON.stringify({ label: [`${gatewayLabel}=${gatewayId}`] }));
    const url = `http://podman/v1.41/containers/json?all=1&filters=${filters}`;
    const { stdout } = await promisify(execFile)('curl', ['--silent', '--unix-socket', podman.host.slice(7), url]);
    return JSON.parse(stdout).length;
  }

  runtimeContract((name, body) => (count(0, 1) === 1 || daily.test(name)) && test(name, body), {
    create,
    working: (args): DockerSpec => ({
      image: podmanImage,
      command: 'node',
      args: ['/server/reference-server.ts', ...args],
      volumes: [`${referenceServerPath()}:/server/reference-server.ts:ro`],
      network: 'host',
    }),
    broken: (): DockerSpec => ({ image: 'localhost/mcp-test/no-such-image:never', pull: 'never' }),
  });

  test('tells the exit code, and the signal', async () => {
    expect((await endOf(shell('exit 5'))).exit).toMatchObject({ code: 5 });
    expect((await endOf(shell('sh -c "kill -9 \\$\\$"; exit 137'))).exit).toMatchObject({
      code: 137,
      signal: 'SIGKILL',
    });
  });

  test('ends the input of a server whose host was killed (StdinOnce)', async () => {
    const gatewayId = createName();
    const host = startHost('docker-host', [podmanImage, gatewayId, '1', 'hold', podman.host]);
    await host.lines.next();
    expect(await countOf(gatewayId)).toBe(1);
    host.child.kill('SIGKILL');
    await once(host.child, 'exit');
    await expect.poll(() => countOf(gatewayId), { timeout: 60_000 }).toBe(0);
  });

  test.each([
    ['a missing network', { network: 'no-such-net' }, /network/],
    ['a missing source', { volumes: ['/no/such/folder:/in'] }, /\/no\/such\/folder/],
    ['a missing program', { command: '/no/such', init: false }, /the program \/no\/such/],
  ] as [string, Partial<DockerSpec>, RegExp][])('says what is wrong: %s', async (_, more, expected) => {
    const runtime = create();
    const opening = runtime.open({ ...shell('cat'), ...more }, createRuntimeContext());
    await expect(opening).rejects.toThrow(expected);
    await runtime.close();
  });

  test('what it cannot do: it does not tell that the memory ran out', async () => {
    const script = 'const all = []; for (;;) all.push(Buffer.alloc(1 << 20, 1));';
    const { exit } = await endOf({ ...shell(''), command: 'node', args: ['-e', script], memory: '32m' });
    expect(exit).toMatchObject({ code: 137, signal: 'SIGKILL', reason: undefined });
  });
});
