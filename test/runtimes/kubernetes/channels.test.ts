import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import type { WebSocket } from 'ws';
import { systemClock } from '../../../src/options.js';
import type { ChannelSocket } from '../../../src/runtimes/shared/kubernetes/cluster.js';
import { Clusters } from '../../../src/runtimes/shared/kubernetes/clusters.js';
import { pods } from '../../../src/runtimes/shared/kubernetes/resources.js';
import { FakeApiServer, sendJson } from '../../support/kubernetes/fake-api-server.js';
import { eventually } from '../../support/kubernetes/namespace.js';

const ref = pods({ namespace: 'home', name: 'a', subresource: 'attach' });
const protocols = ['v5.channel.k8s.io', 'v4.channel.k8s.io'];

interface Scene {
  readonly fake: FakeApiServer;
  readonly ours: ChannelSocket;
  readonly theirs: WebSocket;
  /** What the API server got, in order. */
  readonly got: Buffer[];
}

async function connected(protocol: string, use: (scene: Scene) => Promise<void>, clock = systemClock): Promise<void> {
  await using fake = await FakeApiServer.listen();
  fake.takeProtocol = () => protocol;
  const clusters = new Clusters({ kubeconfig: fake.kubeconfig }, clock);
  const cluster = await clusters.open();
  const { promise: arrived, resolve } = Promise.withResolvers<WebSocket>();
  const got: Buffer[] = [];
  fake.connected = (socket) => {
    socket.on('message', (data) => got.push(data as Buffer));
    resolve(socket);
  };
  const ours = await cluster.connect(ref, { protocols, incoming: [1, 2, 3], query: { stdin: 'true' } });
  try {
    await use({ fake, ours, theirs: await arrived, got });
  } finally {
    await ours.close();
    await clusters.close();
  }
}

const frame = (channel: number, text: string) => Buffer.concat([Buffer.of(channel), Buffer.from(text)]);
const until = (what: string, condition: () => boolean) => eventually(what, async () => condition() || undefined);

describe('a WebSocket of channels', () => {
  test('bytes go to their channels, and empty messages nowhere', () =>
    connected('v5.channel.k8s.io', async ({ fake, ours, theirs, got }) => {
      expect(ours.protocol).toBe('v5.channel.k8s.io');
      expect(fake.requests).toEqual(['GET /api/v1/namespaces/home/pods/a/attach?stdin=true']);
      for (const data of [frame(1, ''), frame(2, 'warn'), frame(1, 'out'), Buffer.alloc(0), frame(9, 'whose?')])
        theirs.send(data);
      const [out] = await once(ours.readable(1), 'data');
      const [warn] = await once(ours.readable(2), 'data');
      expect([String(out), String(warn)]).toEqual(['out', 'warn']);
      ours.writable(0).write('in');
      await until('the input', () => got.length === 1);
      expect(got).toEqual([frame(0, 'in')]);
    }));

  test('v5: the end of input is told, and output after it arrives', () =>
    connected('v5.channel.k8s.io', async ({ ours, theirs, got }) => {
      ours.writable(0).end('last');
      await until('the end of input', () => got.length === 2);
      expect(got).toEqual([frame(0, 'last'), Buffer.of(255, 0)]);
      theirs.send(frame(1, 'after'));
      const [data] = await once(ours.readable(1), 'data');
      expect(String(data)).toBe('after');
      theirs.send(Buffer.of(255, 1));
      ours.readable(1).resume();
      await once(ours.readable(1), 'end');
      theirs.close(1000);
      await expect(ours.closed).resolves.toBeUndefined();
    }));

  test('v5: what comes on a channel after its end is dropped, whether it has been read or not', () =>
    connected('v5.channel.k8s.io', async ({ ours, theirs }) => {
      for (const data of [frame(1, 'out'), Buffer.of(255, 1), frame(1, 'more'), frame(2, 'warn')]) theirs.send(data);
      // It comes behind all of that. An error of a channel would end this process.
      const [warn] = await once(ours.readable(2), 'data');
      expect(String(warn)).toBe('warn');
      const read: string[] = [];
      for await (const chunk of ours.readable(1)) read.push(String(chunk));
      expect(read).toEqual(['out']);
    }));

  test('v5: a channel that ends while its last bytes wait to be read holds up nothing', () =>
    connected('v5.channel.k8s.io', async ({ ours, theirs }) => {
      for (const data of [frame(1, 'x'.repeat(300_000)), Buffer.of(255, 1)]) theirs.send(data);
      const out = ours.readable(1);
      await until('these bytes', () => out.readableLength === 300_000);
      theirs.send(frame(2, 'warn'));
      const [warn] = await once(ours.readable(2), 'data');
      expect(String(warn)).toBe('warn');
    }));

  test('v4: nothing can tell the end of input but the end of the connection', () =>
    connected('v4.channel.k8s.io', async ({ ours, theirs, got }) => {
      const stdin = ours.writable(0);
      stdin.end('last');
      await once(stdin, 'finish');
      const closed = once(theirs, 'close');
      await ours.close();
      await closed;
      expect(got).toEqual([frame(0, 'last')]);
      await expect(ours.closed).resolves.toBeUndefined();
    }));

  test('1 MiB is split and arrives whole', () =>
    connected('v4.channel.k8s.io', async ({ ours, got }) => {
      const bytes = Buffer.alloc(1024 * 1024, 'ä');
      ours.writable(0).write(bytes);
      const size = () => got.reduce((sum, data) => sum + data.length - 1, 0);
      await until('all of it', () => size() === bytes.length);
      expect(got.every((data) => data[0] === 0 && data.length <= 65_537)).toBe(true);
      expect(Buffer.concat(got.map((data) => data.subarray(1))).equals(bytes)).toBe(true);
    }));

  test('what nobody reads holds up the other side', () =>
    connected('v5.channel.k8s.io', async ({ ours, theirs }) => {
      const total = 64 * 1024 * 1024;
      const chunk = Buffer.alloc(64 * 1024, 1);
      for (let sent = 0; sent < total; sent += chunk.length) theirs.send(chunk);
      const stdout = ours.readable(1);
      await until('a full buffer', () => stdout.readableLength >= 256 * 1024);
      // Another way round the loop changes nothing: what has not been asked for stays with the sender.
      const before = process.memoryUsage().arrayBuffers;
      await new Promise((resolve) => setImmediate(resolve));
      expect(stdout.readableLength).toBeLessThan(1024 * 1024);
      expect(process.memoryUsage().arrayBuffers).toBeLessThan(before + 16 * 1024 * 1024);
      let got = 0;
      for await (const data of stdout) {
        got += data.length;
        if (got >= total - total / chunk.length) break;
      }
      expect(got).toBe(total - total / chunk.length);
    }));

  test('a cut is told, and fails what is being written', () =>
    connected('v4.channel.k8s.io', async ({ fake, ours, theirs }) => {
      const stdin = ours.writable(0);
      const ended = once(ours.readable(1).resume(), 'end');
      // More than fits between the two.
      theirs.pause();
      const writing = new Promise((resolve) => stdin.write(Buffer.alloc(32 * 1024 * 1024), resolve));
      fake.cut();
      await expect(ours.closed).resolves.toMatchObject({ failure: 'unreachable' });
      await ended;
      expect(await writing).toBeInstanceOf(Error);
      const failed = await new Promise((resolve) => stdin.write('late', resolve));
      expect(failed).toBeInstanceOf(Error);
    }));

  test('a close with another code says what the other side said', () =>
    connected('v4.channel.k8s.io', async ({ ours, theirs }) => {
      theirs.close(1011, 'the kubelet is going away');
      const lost = await ours.closed;
      expect(lost?.message).toMatch(/closed the connection \(1011\): the kubelet is going away/);
    }));

  test('pings go out, and silence is an end', async () => {
    const timers: (() => void)[] = [];
    let now = 0;
    const clock = {
      ...systemClock,
      now: () => now,
      setTimeout: (run: () => void, ms: number) => (ms === 10_000 ? timers.push(run) : systemClock.setTimeout(run, ms)),
      clearTimeout: (timer: unknown) => typeof timer === 'number' || systemClock.clearTimeout(timer),
    };
    await connected(
      'v4.channel.k8s.io',
      async ({ ours, theirs }) => {
        const tick = () => {
          now += 10_000;
          timers.shift()?.();
        };
        for (let count = 0; count < 5; count++) {
          const pinged = once(theirs, 'ping');
          const beforePong = timers.length;
          tick();
          await pinged;
          expect(timers.length).toBe(beforePong);
          theirs.send(frame(2, 'alive'));
          await once(ours.readable(2), 'data');
        }
        // It lives, but its answers are lost.
        theirs.pong = () => {};
        Object.assign(theirs, { _autoPong: false });
        for (let count = 0; count < 4; count++) tick();
        const lost = await ours.closed;
        expect(lost?.message).toMatch(/has not answered pings for 35 s/);
      },
      clock,
    );
  });

  test.each([
    [
      403,
      '{"kind":"Status","message":"pods \\"a\\" is forbidden"}',
      'forbidden',
      /may not get pods\/attach "a".*is forbidden/,
    ],
    // API servers since 1.35, where `get` is allowed and `create` is not.
    [
      403,
      '{"kind":"Status","message":"pods \\"a\\" is forbidden: ","reason":"Forbidden"}',
      'forbidden',
      /may not create pods\/attach "a" in namespace "home" \(403\): pods "a" is forbidden; grant it, as in the Role/,
    ],
    [404, '', 'not-found', /cannot get pods\/attach "a"/],
    [500, 'container mcp not found in pod a', 'refused', /\(500\): container mcp not found/],
    [302, '', 'foreign', /is there a proxy before it that wants a login\?/],
    [
      200,
      '<html>log in</html>',
      'foreign',
      /answered with a page of HTML, .*is there a proxy before it that wants a login\?/,
    ],
  ])('a handshake that is refused with %d', async (status, body, failure, message) => {
    await using fake = await FakeApiServer.listen();
    fake.refuseUpgrade = { status, body };
    const cluster = await new Clusters({ kubeconfig: fake.kubeconfig }).open();
    const failed = cluster.connect(ref, { protocols, incoming: [1] });
    await expect(failed).rejects.toMatchObject({ failure, status: failure === 'foreign' ? undefined : status });
    await expect(failed).rejects.toThrow(message);
  });

  test('a handshake that an API server which is busy, or shuts down, puts off is tried again', async () => {
    await using fake = await FakeApiServer.listen();
    const body = '{"message":"The apiserver is shutting down, please try again later."}';
    fake.refuseUpgrade = { status: 429, body, headers: 'Retry-After: 5\r\n' };
    const pauses: number[] = [];
    const clock = {
      ...systemClock,
      setTimeout: (run: () => void, ms: number) => {
        if (ms !== 5_000) return systemClock.setTimeout(run, ms);
        pauses.push(ms);
        if (pauses.length === 2) fake.refuseUpgrade = undefined;
        return systemClock.setTimeout(run, 0);
      },
    };
    const cluster = await new Clusters({ kubeconfig: fake.kubeconfig }, clock).open();
    const socket = await cluster.connect(ref, { protocols, incoming: [1] });
    await socket.close();
    expect(fake.requests).toHaveLength(3);
    fake.refuseUpgrade = { status: 429, body, headers: 'Retry-After: 5\r\n' };
    await expect(cluster.connect(ref, { protocols, incoming: [1] })).rejects.toThrow(
      /\(429\): The apiserver is shutting/,
    );
    expect(fake.requests).toHaveLength(9);
  });

  test('a handshake that is refused for its credentials is tried with new ones', async () => {
    await using fake = await FakeApiServer.listen();
    fake.refuseUpgrade = { status: 401, body: '' };
    const cluster = await new Clusters({ kubeconfig: fake.kubeconfig }).open();
    await expect(cluster.connect(ref, { protocols, incoming: [1] })).rejects.toMatchObject({ failure: 'unauthorized' });
    expect([fake.requests.length, fake.configReads]).toEqual([2, 2]);
  });

  test('a kept connection that is closed in the moment of a handshake is no failure', async () => {
    await using fake = await FakeApiServer.listen();
    fake.answer = (_request, response) => sendJson(response, 200, { metadata: {}, items: [] });
    const clusters = new Clusters({ kubeconfig: fake.kubeconfig });
    const cluster = await clusters.open();
    await cluster.list(pods({ namespace: 'home' }));
    expect(fake.connections).toBe(1);
    let cuts = 0;
    fake.upgrading = (socket) => {
      cuts += 1;
      if (cuts === 1) socket.destroy();
    };
    const socket = await cluster.connect(ref, { protocols, incoming: [1] });
    expect(cuts).toBe(2);
    await socket.close();
    await clusters.close();
  });

  test('a new connection that is closed in the moment of a handshake is one', async () => {
    await using fake = await FakeApiServer.listen();
    fake.upgrading = (socket) => socket.destroy();
    const cluster = await new Clusters({ kubeconfig: fake.kubeconfig }).open();
    await expect(cluster.connect(ref, { protocols, incoming: [1] })).rejects.toMatchObject({ failure: 'unreachable' });
    expect(fake.requests).toHaveLength(1);
  });

  test('an abort ends the handshake', async () => {
    await using fake = await FakeApiServer.listen();
    const abort = new AbortController();
    const reason = new Error('enough');
    fake.takeProtocol = () => {
      abort.abort(reason);
      return 'v4.channel.k8s.io';
    };
    const cluster = await new Clusters({ kubeconfig: fake.kubeconfig }).open();
    await expect(cluster.connect(ref, { protocols, incoming: [1], signal: abort.signal })).rejects.toBe(reason);
    await until('the end of the connection', () => fake.connections === 0);
  });
});
