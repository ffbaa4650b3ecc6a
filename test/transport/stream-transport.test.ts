import { PassThrough, type Readable, Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { GatewayError } from '../../src/errors.js';
import { systemClock } from '../../src/options.js';
import type { JSONRPCMessage } from '../../src/sdk.js';
import type { StreamPeer } from '../../src/transport/stream-peer.js';
import { StreamTransport } from '../../src/transport/stream-transport.js';
import { count } from '../support/counts.js';

/** A server in this process, of which the test holds all three streams. */
class TestPeer implements StreamPeer {
  readonly stdout = new PassThrough();
  readonly stderr: Readable | null = null;
  readonly pid = null;
  readonly written: string[] = [];
  /** Called for each write; calls back when the server has taken it. */
  take: ((done: () => void) => void) | undefined;
  readonly stdin = new Writable({
    write: (chunk, _encoding, done) => {
      this.written.push(String(chunk));
      if (this.take === undefined) done();
      else this.take(done);
    },
  });
  readonly #exit = Promise.withResolvers<{ code?: number }>();
  readonly exited = this.#exit.promise;
  readonly stderrEnded = Promise.resolve();
  stops = 0;

  stderrTail(): string {
    return 'last words\n';
  }

  exit(code: number): void {
    this.#exit.resolve({ code });
    this.stdout.end();
  }

  async stop(): Promise<void> {
    this.stops += 1;
    this.exit(0);
  }
}

async function start(maxMessageBytes = 1024 * 1024) {
  const peer = new TestPeer();
  const transport = new StreamTransport(peer, { server: 'test', maxMessageBytes, clock: systemClock });
  const messages: JSONRPCMessage[] = [];
  const errors: GatewayError[] = [];
  const closed = Promise.withResolvers<void>();
  let closes = 0;
  transport.onmessage = (message) => messages.push(message);
  transport.onerror = (error) => errors.push(error as GatewayError);
  transport.onclose = () => {
    closes += 1;
    closed.resolve();
  };
  await transport.start();
  return { peer, transport, messages, errors, closed: closed.promise, closes: () => closes };
}

const notify = (n: number): JSONRPCMessage => ({ jsonrpc: '2.0', method: 'n', params: { n } });
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error as GatewayError,
  );

describe('sending', () => {
  test('waits for the server to read, tells what had left when it dies, and carries the exit code', async () => {
    const { peer, transport, errors, closed, closes } = await start();
    const takes: (() => void)[] = [];
    peer.take = (done) => takes.push(done);
    const first = failure(transport.send(notify(0)));
    await turn();
    const later = Array.from({ length: 199 }, (_, n) => failure(transport.send(notify(n + 1))));
    await turn();
    expect(peer.written.length).toBe(1);
    peer.stdin.destroy(new Error('EPIPE'));
    peer.exit(7);
    const outcomes = await Promise.all([first, ...later]);
    await closed;
    for (const error of outcomes) {
      expect(error).toMatchObject({ code: 'SERVER_EXITED', exit: { code: 7, stderrTail: 'last words\n' } });
    }
    expect(outcomes[0]?.delivered).toBe('unknown');
    expect(new Set(outcomes.slice(1).map((error) => error?.delivered))).toEqual(new Set([false]));
    expect(errors.map((error) => error.code)).toEqual(['SERVER_EXITED']);
    expect(closes()).toBe(1);
  });

  test('resolves once the stream has taken a message, and not before', async () => {
    const { peer, transport } = await start();
    let take = () => {};
    peer.take = (done) => {
      take = done;
    };
    let sent = false;
    const sending = transport.send(notify(1)).then(() => {
      sent = true;
    });
    await turn();
    expect(sent).toBe(false);
    take();
    await sending;
    await transport.close();
  });

  test('refuses more than its bound with LIMIT_REACHED, and works again when the server has read', async () => {
    const { peer, transport } = await start();
    const takes: (() => void)[] = [];
    peer.take = (done) => takes.push(done);
    const text = 'x'.repeat(900_000);
    const message = (n: number): JSONRPCMessage => ({ jsonrpc: '2.0', method: 'n', params: { n, text } });
    const sends: Promise<GatewayError | undefined>[] = [];
    for (let n = 0; n < 100; n += 1) {
      sends.push(failure(transport.send(message(n))));
    }
    const refused = (await Promise.race([Promise.all(sends.slice(90)), turn().then(() => [])])).map((e) => e?.code);
    expect(refused).toEqual(Array(10).fill('LIMIT_REACHED'));
    peer.take = undefined;
    takes[0]?.();
    const outcomes = await Promise.all(sends);
    expect(outcomes.filter((error) => error === undefined).length).toBeGreaterThan(70);
    expect(await failure(transport.send(notify(1)))).toBeUndefined();
    await transport.close();
  });

  test('counts what small messages cost besides their text', async () => {
    const { peer, transport } = await start();
    peer.take = () => {};
    const outcomes = Array.from({ length: 300_000 }, () => failure(transport.send(notify(1))));
    const last = await outcomes.at(-1);
    expect(last?.code).toBe('LIMIT_REACHED');
    const ending = transport.close();
    const all = await Promise.all(outcomes);
    expect(new Set(all.map((error) => error?.code))).toEqual(new Set(['TRANSPORT_CLOSED', 'LIMIT_REACHED']));
    await ending;
  });

  test('a server that closes its stdin and lives fails what waits, then every send at once', async () => {
    const { peer, transport, errors } = await start();
    peer.take = () => {};
    const waiting = failure(transport.send(notify(1)));
    await turn();
    peer.stdin.destroy();
    expect(await waiting).toMatchObject({ code: 'TRANSPORT_CLOSED', delivered: 'unknown' });
    expect(await failure(transport.send(notify(2)))).toMatchObject({ code: 'TRANSPORT_CLOSED', delivered: false });
    peer.stdout.write(`${JSON.stringify(notify(3))}\n`);
    await turn();
    expect(errors).toEqual([]);
    await transport.close();
  });

  test('what is no JSON or too large is refused', async () => {
    const { transport } = await start(100);
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    const bad = (params: unknown) => failure(transport.send({ jsonrpc: '2.0', method: 'n', params } as JSONRPCMessage));
    expect(await bad(circular)).toMatchObject({ code: 'MESSAGE_INVALID', delivered: false });
    expect(await bad({ n: 1n })).toMatchObject({ code: 'MESSAGE_INVALID' });
    expect(await failure(transport.send(undefined as never))).toMatchObject({ code: 'MESSAGE_INVALID' });
    expect(await bad({ text: 'é'.repeat(60) })).toMatchObject({ code: 'MESSAGE_TOO_LARGE', delivered: false });
    await transport.close();
  });
});

describe('receiving', () => {
  test('mutated frames: what is delivered is JSON-RPC, whole messages arrive, nothing throws', async () => {
    const { peer, transport, messages } = await start();
    const frame = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'é漢👩' } });
    const bytes = Buffer.from(frame);
    const [edits] = fc.sample(
      fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255), fc.constantFrom('set', 'cut', 'double')), {
        minLength: count(100_000, 1_000_000),
        maxLength: count(100_000, 1_000_000),
      }),
      { numRuns: 1, seed: 20_260_728 },
    ) as [[number, number, string][]];
    const sentinels: number[] = [];
    for (const [index, [at, value, kind]] of edits.entries()) {
      const mutated = Buffer.from(bytes);
      if (kind === 'set') mutated[at] = value;
      const line =
        kind === 'cut' ? mutated.subarray(0, at) : kind === 'double' ? Buffer.concat([mutated, mutated]) : mutated;
      const sentinel = index % 1000 === 0 ? `\n${JSON.stringify(notify(index))}\n` : '\n';
      if (sentinel !== '\n') sentinels.push(index);
      if (!peer.stdout.write(Buffer.concat([line, Buffer.from(sentinel)]))) await turn();
    }
    peer.exit(0);
    await new Promise<void>((resolve) => {
      transport.onclose = resolve;
    });
    expect(
      messages.filter((m) => 'method' in m && m.method === 'n').map((m) => ('params' in m ? m.params?.n : 0)),
    ).toEqual(sentinels);
    for (const message of messages) {
      expect(message.jsonrpc).toBe('2.0');
      expect('method' in message ? typeof message.method : 'string').toBe('string');
    }
  });

  test('callbacks that throw end nothing', async () => {
    const { peer, transport, closed } = await start();
    const seen: string[] = [];
    transport.onmessage = () => {
      throw new Error('from onmessage');
    };
    transport.onerror = (error) => {
      seen.push(error.message.split(';')[0] as string);
      throw new Error('from onerror');
    };
    peer.stdout.write(`${JSON.stringify(notify(1))}\nnoise\n${JSON.stringify(notify(2))}\n`);
    await turn();
    peer.exit(3);
    await closed;
    expect(seen).toEqual([
      'from onmessage',
      'from onmessage',
      '"test": skipped 1 line (5 characters) on stdout that are not JSON-RPC',
      '"test": the server ended with code 3',
    ]);
  });

  test('pause() stops delivery within a chunk, resume() goes on in order, and an end delivers the rest', async () => {
    const { peer, transport, messages, closed } = await start();
    transport.onmessage = (message) => {
      messages.push(message);
      if (messages.length === 2 || messages.length === 4) transport.pause();
    };
    peer.stdout.write([1, 2, 3, 4, 5, 6].map((n) => `${JSON.stringify(notify(n))}\n`).join(''));
    await turn();
    await turn();
    expect(messages.length).toBe(2);
    transport.resume();
    await turn();
    await turn();
    expect(messages.length).toBe(4);
    peer.exit(0);
    await closed;
    expect(messages).toEqual([1, 2, 3, 4, 5, 6].map(notify));
  });

  test('pause() right after start() holds: what the peer writes waits in its pipe', async () => {
    const { peer, transport, messages, closed } = await start();
    transport.pause();
    await turn();
    for (let n = 0; n < 100; n += 1) {
      peer.stdout.write(`${JSON.stringify({ ...notify(n), params: { text: 'x'.repeat(64 * 1024) } })}\n`);
      await turn();
    }
    expect(messages).toEqual([]);
    expect(peer.stdout.writableLength + peer.stdout.readableLength).toBeGreaterThan(90 * 64 * 1024);
    transport.resume();
    peer.exit(0);
    await closed;
    expect(messages).toHaveLength(100);
  });

  test('close() within onmessage ends delivery there', async () => {
    const { peer, transport, messages, closed } = await start();
    transport.onmessage = (message) => {
      messages.push(message);
      void transport.close();
    };
    peer.stdout.write(`[${[1, 2].map((n) => JSON.stringify(notify(n)))}]\n${JSON.stringify(notify(3))}\n`);
    await closed;
    expect(messages).toEqual([notify(1)]);
  });

  test('a flood of tiny lines leaves turns to others', async () => {
    const { peer, transport, messages } = await start();
    const done = Promise.withResolvers<number>();
    let turns = 0;
    let counting = true;
    const countTurns = () => {
      turns += 1;
      if (counting) setImmediate(countTurns);
    };
    transport.onmessage = (message) => {
      messages.push(message);
      done.resolve(turns);
    };
    transport.onerror = () => {};
    countTurns();
    // Each of these lines costs an exception.
    peer.stdout.write(Buffer.from(`${'{\n'.repeat(200_000)}${JSON.stringify(notify(1))}\n`));
    expect(await done.promise).toBeGreaterThan(5);
    counting = false;
    await transport.close();
  });

  test('a line over the limit ends the transport, with what had come before', async () => {
    const { peer, messages, errors, closed } = await start(200);
    peer.stdout.write(`${JSON.stringify(notify(1))}\n${'x'.repeat(201)}`);
    await closed;
    expect(messages).toEqual([notify(1)]);
    expect(errors.map((error) => error.code)).toEqual(['MESSAGE_TOO_LARGE']);
    expect(peer.stops).toBe(1);
  });
});
