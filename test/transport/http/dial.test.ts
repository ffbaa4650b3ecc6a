import { once } from 'node:events';
import { connect as connectTo, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { Connections, type ConnectionsOptions } from '../../../src/transport/http/connections.js';
import type { Dial } from '../../../src/transport/http/dial.js';
import { loadUndici } from '../../../src/transport/http/load.js';
import { createCertificates, createSecureServer } from '../../fixtures/http/certificates.js';
import { type Listening, listen } from '../../fixtures/http/listen.js';
import { FakeClock, settle } from '../../support/fake-clock.js';

const timeoutMs = 20_000;

/** Connections to a name that no look-up knows, by streams that the test opens. */
async function dialling(dial: Dial, more: Partial<ConnectionsOptions> = {}) {
  const clock = new FakeClock();
  const undici = await loadUndici();
  const connections = Connections.with(undici, {
    proxy: false,
    tls: undefined,
    connectTimeoutMs: timeoutMs,
    maxConnections: 1,
    dial,
    clock,
    ...more,
  });
  return {
    clock,
    connections,
    async get(origin: string) {
      const { body } = await undici.request(`${origin}/`, { dispatcher: connections.dispatcher });
      return body.text();
    },
    [Symbol.asyncDispose]: () => connections.close(),
  };
}

/** Dials a server, and counts. */
function dialTo({ port }: Pick<Listening, 'port'>) {
  const sockets: Socket[] = [];
  const dial: Dial = async () => {
    const socket = connectTo(port, '127.0.0.1');
    sockets.push(socket);
    await once(socket, 'connect');
    return socket;
  };
  return { dial, sockets };
}

const name = 'http://service.invalid';

describe('a connection that is dialled', () => {
  test('leads requests to what it was dialled to, one after the other', async () => {
    await using host = await listen((request, response) => response.end(`${request.headers.host}`));
    const { dial, sockets } = dialTo(host);
    await using t = await dialling(dial);
    expect([await t.get(name), await t.get(name)]).toEqual(['service.invalid', 'service.invalid']);
    expect(sockets).toHaveLength(1);
    expect(t.clock.waiting).toBe(0);
  });

  test('that was opened ahead is taken by the first request, unless the server has closed it', async () => {
    await using host = await listen((_request, response) => response.end('ok'));
    const { dial, sockets } = dialTo(host);
    await using t = await dialling(dial);
    await t.connections.connectAhead(new URL(name), new AbortController().signal);
    expect(await t.get(name)).toBe('ok');
    expect(sockets).toHaveLength(1);
    await using other = await dialling(dial);
    await other.connections.connectAhead(new URL(name), new AbortController().signal);
    const [, kept] = sockets as [Socket, Socket];
    const closed = once(kept, 'close');
    host.server.closeAllConnections();
    await closed;
    expect(await other.get(name)).toBe('ok');
    expect(sockets).toHaveLength(3);
  });

  test('fails as its dialling does', async () => {
    await using t = await dialling(async () => {
      throw new Error('no such pod');
    });
    await expect(t.get(name)).rejects.toThrow('no such pod');
    await expect(t.connections.connectAhead(new URL(name), new AbortController().signal)).rejects.toThrow(
      'no such pod',
    );
    expect(t.clock.waiting).toBe(0);
  });

  test('that comes too late is closed', async () => {
    await using host = await listen((_request, response) => response.end('ok'));
    const gate = Promise.withResolvers<void>();
    const { dial, sockets } = dialTo(host);
    let signal: AbortSignal | undefined;
    await using t = await dialling(async (given) => {
      signal = given;
      await gate.promise;
      return dial(given);
    });
    const answer = t.get(name).catch((error: Error & { code?: string }) => error);
    while (signal === undefined) await settle();
    await t.clock.advance(timeoutMs);
    expect(signal.aborted).toBe(true);
    gate.resolve();
    expect(await answer).toMatchObject({ code: 'UND_ERR_CONNECT_TIMEOUT', message: 'no connection within 20000 ms' });
    expect(sockets.map(({ destroyed }) => destroyed)).toEqual([true]);
  });

  test('that is given up while it is dialled is closed', async () => {
    await using host = await listen((_request, response) => response.end('ok'));
    const gate = Promise.withResolvers<void>();
    const { dial, sockets } = dialTo(host);
    await using t = await dialling(async (signal) => {
      await gate.promise;
      return dial(signal);
    });
    const abort = new AbortController();
    const ahead = t.connections.connectAhead(new URL(name), abort.signal);
    abort.abort(new Error('never mind'));
    await expect(ahead).rejects.toThrow('never mind');
    gate.resolve();
    while (sockets[0]?.destroyed !== true) await settle();
    expect(t.clock.waiting).toBe(0);
  });

  test('that is given up in the turn in which it comes is closed', async () => {
    await using host = await listen((_request, response) => response.end('ok'));
    const { dial, sockets } = dialTo(host);
    const abort = new AbortController();
    await using t = await dialling(async (signal) => {
      const stream = await dial(signal);
      // The first that is done with it.
      stream.once('newListener', () => queueMicrotask(() => abort.abort(new Error('never mind'))));
      return stream;
    });
    await expect(t.connections.connectAhead(new URL(name), abort.signal)).rejects.toThrow('never mind');
    expect(sockets.map(({ destroyed }) => destroyed)).toEqual([true]);
    expect(t.clock.waiting).toBe(0);
  });

  test('has TLS above it where the URL says so, and the name in the URL is looked for in the certificate', async () => {
    await using certificates = await createCertificates();
    const own = await certificates.signFor('DNS:service.invalid');
    const secure = 'https://service.invalid';
    for (const [pair, known, error] of [
      [own, true, undefined],
      [own, false, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
      [certificates.good, true, 'ERR_TLS_CERT_ALTNAME_INVALID'],
    ] as const) {
      await using host = await listen(createSecureServer(pair) as never);
      host.server.on('request', (_request, response) => response.end('ok'));
      const { dial, sockets } = dialTo(host);
      await using t = await dialling(dial, { tls: known ? { ca: certificates.ca } : undefined });
      const answer = await t.get(secure).catch(({ code }: { code?: string }) => code);
      expect(answer).toBe(error ?? 'ok');
      if (error !== undefined) expect(sockets[0]?.destroyed).toBe(true);
    }
  });
});
