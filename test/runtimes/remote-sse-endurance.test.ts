import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { getEventListeners } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import type { RuntimeTransport } from '../../src/runtime.js';
import { RemoteSseRuntime } from '../../src/runtimes/remote-sse.js';
import type { JSONRPCMessage } from '../../src/sdk.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { createCountingHost } from '../fixtures/http/counting-host.js';
import { listenScripted } from '../fixtures/http/scripted-host.js';
import { count } from '../support/counts.js';
import { FakeClock } from '../support/fake-clock.js';

const initialize = {
  protocolVersion: '2025-11-25',
  capabilities: {},
  clientInfo: { name: 'test', version: '1' },
};

async function begin(transport: RuntimeTransport): Promise<void> {
  await transport.start();
  await transport.send({ jsonrpc: '2.0', id: 'initialize', method: 'initialize', params: initialize });
  await transport.send({ jsonrpc: '2.0', method: 'notifications/initialized' });
}

/** Resolves once it is so: what comes over a socket is not on the clock of the test. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise<void>((resolve) => setImmediate(resolve));
}

const endings: Readonly<Record<string, (response: ServerResponse) => void>> = {
  'in good order': (response) => response.writeHead(200, { 'content-type': 'text/event-stream' }).end(),
  'and asks to come back at once': (response) =>
    response.writeHead(200, { 'content-type': 'text/event-stream' }).end('retry: 0\n\n'),
  'after an event': (response) =>
    response
      .writeHead(200, { 'content-type': 'text/event-stream' })
      .end('id: 1\ndata: {"jsonrpc":"2.0","method":"notifications/x"}\n\n'),
  'by a cut': (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    response.socket?.resetAndDestroy();
  },
  'before it begins': (response) => response.socket?.destroy(),
  'with status 503': (response) => response.writeHead(503, { 'retry-after': '0' }).end(),
  'with status 429': (response) => response.writeHead(429).end(),
};

describe('a server that ends its stream at once, for ever', () => {
  test.each(Object.entries(endings))('%s: sees one try a second at most after the first three', async (_, end) => {
    const clock = new FakeClock();
    const times: number[] = [];
    await using host = await listenScripted(({ method, response }) => {
      if (method !== 'GET') return false;
      // The first one does work: a server that never offered the stream is not asked again.
      if (times.length === 0) response.writeHead(200, { 'content-type': 'text/event-stream' }).end();
      else end(response);
      times.push(clock.now());
      return true;
    });
    const runtime = new RemoteSseRuntime();
    const transport = await runtime.open({ url: host.url }, createRuntimeContext({ clock }));
    try {
      await begin(transport);
      const endMs = 120_000;
      while (clock.now() < endMs) {
        // Time stands still while a try is on its way.
        await until(() => clock.waiting > 0);
        await clock.advance(20);
      }
      const gaps = times.slice(1).map((time, index) => time - (times[index] as number));
      // The first is no try again, and after it come three quick ones.
      expect(Math.min(...gaps.slice(3))).toBeGreaterThanOrEqual(1_000);
      for (const [index, time] of times.entries()) {
        const within = times.slice(Math.max(4, index)).filter((other) => other < time + 1_000).length;
        expect(within, `from ${time} ms on`).toBeLessThanOrEqual(1);
      }
      // It does come back: half a minute is the longest wait.
      expect(Math.max(...gaps)).toBeLessThanOrEqual(40_000);
      expect(times.length).toBeGreaterThan(6);
    } finally {
      await transport.close();
      await runtime.close();
    }
    expect(clock.waiting).toBe(0);
  });
});

describe(`${count(1_000, 10_000)} requests on one transport`, () => {
  test.each(['events', 'json', 'sse'] as const)(
    'answers as %s: no listener, socket or timer is left, and nothing warns',
    async (kind) => {
      const total = count(1_000, 10_000);
      const sockets = new Set<Socket>();
      const open = () => [...sockets].filter((socket) => !socket.destroyed);
      let mostOpen = 0;
      const onConnected = (message: unknown) => {
        sockets.add((message as { socket: Socket }).socket);
        mostOpen = Math.max(mostOpen, open().length);
      };
      const warnings: unknown[] = [];
      const onWarning = (warning: Error) => warnings.push(warning);
      subscribe('undici:client:connected', onConnected);
      process.on('warning', onWarning);
      await using host = await createCountingHost(kind);
      const runtime = new RemoteSseRuntime();
      const transport = await runtime.open(
        { url: `http://127.0.0.1:${host.port}${host.path}`, ...(kind === 'sse' && { transport: 'sse' }) },
        createRuntimeContext(),
      );
      const answers: JSONRPCMessage[] = [];
      let wake = () => {};
      transport.onmessage = (message) => {
        answers.push(message);
        wake();
      };
      // One signal for all of them, as a host has it that stops everything at once.
      const { signal } = new AbortController();
      const ask = async (from: number, to: number) => {
        for (let id = from; id < to; id += 10) {
          const wanted = answers.length + 10;
          await Promise.all(
            Array.from({ length: 10 }, (_, index) => {
              const params = { name: 'count', arguments: { mark: `m${id + index}`, ms: 0 } };
              const message = { jsonrpc: '2.0', id: id + index, method: 'tools/call', params } as const;
              return transport.send(message, { requestSignal: signal } as object);
            }),
          );
          while (answers.length < wanted) {
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
          }
        }
      };
      const listeners = () =>
        open().map((socket) => socket.eventNames().reduce((sum, name) => sum + socket.listenerCount(name), 0));
      try {
        await begin(transport);
        answers.length = 0;
        await ask(0, 100);
        const before = Math.max(...listeners());
        await ask(100, total);
        expect(answers).toHaveLength(total);
        expect(host.executed.size).toBe(total);
        expect(Math.max(...listeners())).toBeLessThanOrEqual(before);
        expect(getEventListeners(signal, 'abort')).toEqual([]);
        // Ten at once and a stream, however many requests. One that was idle for some seconds of a busy machine is replaced.
        expect(mostOpen).toBeLessThanOrEqual(30);
      } finally {
        await transport.close();
        await runtime.close();
        unsubscribe('undici:client:connected', onConnected);
        process.off('warning', onWarning);
      }
      expect(warnings).toEqual([]);
      expect(open()).toEqual([]);
    },
    300_000,
  );
});
