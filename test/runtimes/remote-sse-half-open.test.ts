import { existsSync, readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { createGateway, RemoteSseRuntime } from '../../src/index.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { Peer } from '../../src/testing/peer.js';
import { listen } from '../fixtures/http/listen.js';
import { listenProxy } from '../fixtures/http/proxy.js';
import { listenScripted, type Script, type ScriptedHost } from '../fixtures/http/scripted-host.js';
import { Session } from '../fixtures/http/session.js';
import { FakeClock, settle } from '../support/fake-clock.js';

type Ports = Record<'localPort' | 'remotePort', number | undefined>;

/** The ports of the connections that clients have made to a server, as the server sees them. */
function portsOf(server: Server): Ports[] {
  const ports: Ports[] = [];
  server.on('connection', ({ localPort, remotePort }: Socket) => ports.push({ localPort, remotePort }));
  return ports;
}

/**
 * The timers of the client's end of a connection, as the kernel shows them: which, and in how many ms it runs out. Another program
 * may have connected to elsewhere from the same port.
 */
function kernelTimers({ localPort, remotePort }: Ports): { timer: number; ms: number }[] {
  const hex = (port: number | undefined) => `:${port?.toString(16).toUpperCase().padStart(4, '0')}`;
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, from, to, state]) => from?.endsWith(hex(remotePort)) && to?.endsWith(hex(localPort)) && state === '01')
    .map(([, , , , , timer = '']) => {
      const [kind = '', ticks = ''] = timer.split(':');
      return { timer: Number.parseInt(kind, 16), ms: Number.parseInt(ticks, 16) * 10 };
    });
}

const keepAlive = 2;
const hasKernelTimers = existsSync('/proc/net/tcp');
if (!hasKernelTimers) console.warn('there is no /proc/net/tcp: whether silent connections are probed is not tested');

describe.skipIf(!hasKernelTimers)('a silent connection is asked for a sign of life by the kernel', () => {
  async function expectProbed(ports: Ports[], session: Session) {
    expect(await session.begin()).toHaveProperty('result');
    expect(await session.call('search')).toHaveProperty('result');
    const timers = ports.flatMap(kernelTimers);
    expect(timers.length).toBeGreaterThan(0);
    for (const { timer, ms } of timers) {
      expect(timer).toBe(keepAlive);
      expect(ms).toBeLessThanOrEqual(15_000);
    }
  }

  test('to the server', async () => {
    await using host = await listenScripted();
    const ports = portsOf(host.server);
    await using session = new Session({ url: host.url });
    await expectProbed(ports, session);
  });

  test('the stream of HTTP+SSE', async () => {
    await using host = await listen((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write('event: endpoint\ndata: /messages\n\n');
    });
    const ports = portsOf(host.server);
    const runtime = new RemoteSseRuntime();
    const context = createRuntimeContext();
    const transport = await runtime.open({ url: `${host.origin}/sse`, transport: 'sse' }, context);
    try {
      expect(ports.flatMap(kernelTimers)).toMatchObject([{ timer: keepAlive }]);
    } finally {
      await transport.close();
      await runtime.close();
    }
  });

  test('to a proxy', async () => {
    await using host = await listenScripted();
    await using proxy = await listenProxy();
    const ports = portsOf(proxy.server);
    await using session = new Session({ url: host.url }, { runtime: { proxy: proxy.origin } });
    await expectProbed(ports, session);
  });
});

/** Answers nothing any more once it is deaf, and closes nothing. */
function deafening(): { script: Script; deaf: boolean } {
  const state = { deaf: false, script: (): unknown => state.deaf };
  return state;
}

describe('a server that keeps its connections and answers nothing any more', () => {
  test.each(['after initialize', 'before it'])(
    'health(), %s, ends with its signal and says nothing else',
    async (when) => {
      const state = deafening();
      await using host = await listenScripted(state.script);
      const runtime = new RemoteSseRuntime();
      const transport = await runtime.open({ url: host.url }, createRuntimeContext());
      const peer = new Peer(transport, 60_000);
      try {
        if (when === 'before it') await peer.start();
        else await peer.begin();
        await transport.health?.(new AbortController().signal);
        state.deaf = true;
        const asked = host.seen.length;
        const stop = new AbortController();
        const health = transport.health?.(stop.signal).then(
          () => 'alive',
          (error: unknown) => error,
        );
        while (host.seen.length === asked) await settle();
        stop.abort('late');
        expect(await health).toBe('late');
        expect(peer.errors).toEqual([]);
        state.deaf = false;
        await transport.health?.(new AbortController().signal);
        expect(peer.messages).toEqual([]);
      } finally {
        await peer.close();
        await runtime.close();
      }
    },
  );

  test('is found out by the health of its entry: open calls are answered, and the next one connects again', async () => {
    const clock = new FakeClock();
    const state = deafening();
    await using host: ScriptedHost = await listenScripted(state.script);
    const health = { interval: '30s', timeout: '5s', failures: 3 };
    await using gateway = createGateway(
      { servers: [{ id: 'vendor', health, runtime: { type: 'remote-sse', url: host.url } }] },
      { clock, env: {} },
    );
    const transport = gateway.connect();
    const peer = new Peer(transport as never, 60_000);
    await peer.begin();
    expect(await peer.request('tools/call', { name: 'vendor__search' })).toHaveProperty('result');
    state.deaf = true;
    const open = peer.request('tools/call', { name: 'vendor__search' });
    while (host.count('tools/call') < 2) await settle();
    let answered = false;
    const answer = open.finally(() => {
      answered = true;
    });
    while (!answered) await clock.advance(1_000);
    expect(await answer).toMatchObject({ error: { data: { code: 'SERVER_UNHEALTHY', server: 'vendor' } } });
    state.deaf = false;
    await clock.advance(60_000);
    expect(await peer.request('tools/call', { name: 'vendor__search' })).toHaveProperty('result');
    expect(host.count('initialize')).toBe(2);
    expect(host.count('ping')).toBeGreaterThan(0);
    await peer.close();
  });
});
