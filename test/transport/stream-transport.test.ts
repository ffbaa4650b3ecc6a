import { PassThrough, type Readable, Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { GatewayError } from '../../src/errors.js';
import { type Clock, systemClock } from '../../src/options.js';
import type { JSONRPCMessage } from '../../src/sdk.js';
import type { OutputListener, PeerExit, StreamPeer } from '../../src/transport/stream-peer.js';
import { StreamTransport } from '../../src/transport/stream-transport.js';
import { count } from '../support/counts.js';
import { FakeClock, settle } from '../support/fake-clock.js';

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
  readonly #exit = Promise.withResolvers<PeerExit>();
  readonly exited = this.#exit.promise;
  readonly stderrEnded = Promise.resolve();
  stops = 0;

  tail = 'last words\n';

  stderrTail(): string {
    return this.tail;
  }

  /** @param more - a reason; or somebody else holds stdout open */
  exit(code: number, { reason, isHeld = false }: { reason?: string; isHeld?: boolean } = {}): void {
    this.#exit.resolve({ code, ...(reason !== undefined && { reason }) });
    if (!isHeld) this.stdout.end();
  }

  async stop(): Promise<void> {
    this.stops += 1;
    this.exit(0);
  }
}

/** A server whose output is read past `data` events, into a buffer that is used again. */
class BorrowingPeer extends TestPeer {
  readonly #buffer = Buffer.alloc(256 * 1024);
  #listener: OutputListener = () => {};

  onOutput = (listener: OutputListener): void => {
    this.#listener = listener;
  };

  output(text: string): void {
    this.#listener(this.#buffer, this.#buffer.write(text), true);
    this.#buffer.fill('!');
  }
}

function open<Peer extends TestPeer>(peer: Peer, maxMessageBytes = 1024 * 1024, clock: Clock = systemClock) {
  const transport = new StreamTransport(peer, { server: 'test', maxMessageBytes, clock });
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
  return { peer, transport, messages, errors, closed: closed.promise, closes: () => closes };
}

async function start(maxMessageBytes?: number, clock?: Clock) {
  const opened = open(new TestPeer(), maxMessageBytes, clock);
  await opened.transport.start();
  return opened;
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

  test('what is no message is skipped and told, once for each chunk', async () => {
    const { peer, messages, errors } = await start();
    peer.stdout.write(`noise\n${JSON.stringify(notify(1))}\n{"half":\n[1]\n`);
    await turn();
    peer.stdout.write(`${JSON.stringify(notify(2))}\n`);
    await turn();
    expect(messages).toEqual([notify(1), notify(2)]);
    expect(errors).toMatchObject([
      {
        code: 'MESSAGE_INVALID',
        message: '"test": skipped 3 lines (16 characters) on stdout that are not JSON-RPC',
      },
    ]);
  });

  test.each([
    ['the reason of its end, where stderr is silent', '', '', 'a key is\nmissing\n'],
    ['a line that has not ended, too', '', 'Enter it: ', 'a key is\nmissing\nEnter it: '],
    ['nothing, where stderr tells the reason', 'last words\n', '', 'last words\n'],
    ['nothing, once it has sent a message', '', `${JSON.stringify(notify(1))}\nnoise\n`, ''],
    ['nothing, once it has sent a batch', '', `${JSON.stringify([notify(1)])}\nnoise\n`, ''],
  ])('what a server writes in place of its first message: %s', async (_what, tail, more, told) => {
    const { peer, errors, closed } = await start();
    peer.tail = tail;
    peer.stdout.write(`a key is\n\u001b[1mmissing\n${more}`);
    await turn();
    peer.exit(3);
    await closed;
    const words = told === '' ? '' : `; its output ends with: ${told.trim()}`;
    const message = `"test": the server ended with code 3${words}`;
    expect(errors.at(-1)).toMatchObject({ message, exit: { code: 3, stderrTail: told } });
  });

  test.each([5, 5_000])(
    'of a line that has not ended the end is kept, and %i characters before it count',
    async (n) => {
      const { peer, errors, closed } = await start();
      peer.tail = '';
      peer.stdout.write(`${'x'.repeat(n)}\n${'y'.repeat(500)}`);
      await turn();
      peer.stdout.write('z'.repeat(1_400));
      await turn();
      peer.exit(3);
      await closed;
      expect(errors.at(-1)?.exit?.stderrTail).toBe(`${n === 5 ? 'xxxxx\n' : ''}${'y'.repeat(500)}${'z'.repeat(1_400)}`);
    },
  );

  test('of much that a server writes in place of its first message the end is kept', async () => {
    const { peer, errors, closed } = await start();
    peer.tail = '';
    peer.stdout.write(`${'x'.repeat(5_000)}\n${Array.from({ length: 3_000 }, (_, n) => `line ${n}\n`).join('')}`);
    await turn();
    peer.exit(3);
    await closed;
    const tail = errors.at(-1)?.exit?.stderrTail ?? '';
    expect(tail.length).toBeLessThanOrEqual(2_000);
    expect(tail).toMatch(/^line \d+\n[^x]*line 2999\n$/);
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

  test.each(['', ', also when it was held up meanwhile'])(
    'progress is looked at before the answer behind it%s',
    async (held) => {
      const { peer, transport } = await start();
      const seen: unknown[] = [];
      transport.onmessage = (message) => {
        if ('method' in message) {
          // As the clients of both SDKs do it.
          queueMicrotask(() => seen.push(message.params?.progress));
          if (held !== '') transport.pause();
          if (held !== '') transport.resume();
        } else {
          seen.push('answer');
        }
      };
      const line = (message: object) => `${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`;
      const progress = (n: number) =>
        line({ method: 'notifications/progress', params: { progressToken: 1, progress: n } });
      const answer = line({ id: 1, result: {} });
      peer.stdout.write(progress(1) + progress(2) + answer);
      await turn();
      await turn();
      peer.stdout.write(progress(3) + answer);
      await turn();
      await turn();
      expect(seen).toEqual([1, 2, 'answer', 3, 'answer']);
      await transport.close();
    },
  );

  test('progress is looked at before the answer behind it, also from pieces and from a batch that came with it', async () => {
    const { peer, transport } = open(new BorrowingPeer());
    await transport.start();
    const seen: unknown[] = [];
    transport.onmessage = (message) => {
      // As the clients of both SDKs do it.
      if ('method' in message) queueMicrotask(() => seen.push(message.params?.progress));
      else seen.push('answer');
    };
    const line = (value: unknown) => `${JSON.stringify(value)}\n`;
    const progress = (n: number) => ({
      jsonrpc: '2.0',
      method: 'notifications/progress',
      params: { progressToken: 1, progress: n },
    });
    const answer = line({ jsonrpc: '2.0', id: 1, result: {} });
    for (const piece of [line(progress(1)), line(progress(2)), answer]) peer.output(piece);
    await turn();
    peer.output(line([progress(3), progress(4)]));
    peer.output(answer);
    await turn();
    peer.output(line([progress(5), progress(6)]) + answer);
    await turn();
    const cut = line(progress(7));
    for (const piece of [cut.slice(0, 9), cut.slice(9), answer]) peer.output(piece);
    await turn();
    expect(seen).toEqual([1, 2, 'answer', 3, 4, 'answer', 5, 6, 'answer', 7, 'answer']);
    await transport.close();
  });

  test('progress is looked at before the answers in its batch, and what follows the batch comes after them', async () => {
    const { peer, transport, closed } = await start();
    const seen: unknown[] = [];
    transport.onmessage = (message) => {
      // As the clients of both SDKs do it.
      if ('method' in message) queueMicrotask(() => seen.push(message.params?.progress));
      else seen.push(message.id);
      if ('id' in message && message.id === 'last') void transport.close();
    };
    const progress = (n: number) => ({ method: 'notifications/progress', params: { progressToken: 1, progress: n } });
    const answer = (id: string) => ({ id, result: {} });
    const line = (...messages: object[]) => {
      const batch = messages.map((message) => ({ jsonrpc: '2.0', ...message }));
      return `${JSON.stringify(batch.length === 1 ? batch[0] : batch)}\n`;
    };
    peer.stdout.write(line(progress(1), answer('a'), progress(2), answer('b')) + line(answer('c')));
    await turn();
    peer.stdout.write(line(progress(3), answer('last'), answer('never')));
    await closed;
    expect(seen).toEqual([1, 2, 'a', 'b', 'c', 3, 'last']);
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

  test.each(['before start()', 'after it'])('what comes between pause() and resume() waits (%s)', async (when) => {
    const { peer, transport, messages, closed } = open(new TestPeer());
    if (when === 'before start()') transport.pause();
    else await transport.start();
    transport.pause();
    transport.resume();
    transport.pause();
    if (when === 'before start()') await transport.start();
    peer.stdout.write(`${JSON.stringify(notify(1))}\n`);
    await turn();
    expect(messages).toEqual([]);
    transport.resume();
    peer.exit(0);
    await closed;
    expect(messages).toEqual([notify(1)]);
  });

  test('bytes in a buffer that is used again are kept while lines before them wait for their turn', async () => {
    const { peer, transport, messages } = open(new BorrowingPeer());
    await transport.start();
    const flood = Array.from({ length: 4_000 }, (_, n) => JSON.stringify(notify(n)));
    peer.output(`${flood.join('\n')}\n{"jsonrpc":"2.0",`);
    peer.output('"method":"n",');
    transport.pause();
    peer.output('"params":{"n":4000}}\n');
    transport.resume();
    while (messages.length < 4_001) await turn();
    expect(messages).toEqual(Array.from({ length: 4_001 }, (_, n) => notify(n)));
    await transport.close();
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

test('a transport starts once', async () => {
  const { transport } = await start();
  expect(await failure(transport.start())).toMatchObject({ code: 'TRANSPORT_CLOSED', server: 'test' });
  await transport.close();
  expect(await failure(transport.start())).toMatchObject({ code: 'TRANSPORT_CLOSED', server: 'test' });
});

describe('the end of a server', () => {
  test('that closes its stdout and runs on is told after a moment', async () => {
    const clock = new FakeClock();
    const { peer, errors, closed } = await start(undefined, clock);
    peer.stdout.end();
    await clock.advance(249);
    expect(peer.stops).toBe(0);
    await clock.advance(1);
    await closed;
    expect(errors).toMatchObject([
      { code: 'SERVER_EXITED', exit: { reason: 'stdout-closed', stderrTail: 'last words\n' } },
    ]);
    expect(peer.stops).toBe(1);
  });

  test('that comes while a close() is under way which fails, fails that close() alone', async () => {
    const clock = new FakeClock();
    const { peer, transport } = await start(undefined, clock);
    const unhandled: unknown[] = [];
    const note = (error: unknown) => unhandled.push(error);
    process.on('unhandledRejection', note);
    try {
      peer.stop = () => Promise.reject(new Error('it cannot be stopped'));
      peer.stdout.end();
      await settle();
      const closed = failure(transport.close());
      await clock.advance(1_000);
      expect(await closed).toMatchObject({ message: 'it cannot be stopped' });
      await settle();
      expect(unhandled).toEqual([]);
    } finally {
      process.off('unhandledRejection', note);
    }
  });

  test('says how it was, with its reason', async () => {
    const { peer, errors, closed } = await start();
    peer.exit(137, { reason: 'out-of-memory' });
    await closed;
    expect(errors[0]?.message).toContain('the server ended with code 137 (out-of-memory)');
  });

  test('waits for what is still written by somebody who holds its stdout, until that is silent', async () => {
    const clock = new FakeClock();
    const { peer, messages, closed, closes } = await start(undefined, clock);
    peer.exit(0, { isHeld: true });
    for (let n = 0; n < 3; n += 1) {
      await clock.advance(200);
      peer.stdout.write(`${JSON.stringify(notify(n))}\n`);
      await settle();
    }
    expect(closes()).toBe(0);
    await clock.advance(500);
    await closed;
    expect(messages).toEqual([0, 1, 2].map(notify));
    expect(clock.waiting).toBe(0);
  });

  test('waits no longer than two seconds for somebody who never falls silent', async () => {
    const clock = new FakeClock();
    const { peer, closed, closes } = await start(undefined, clock);
    peer.exit(0, { isHeld: true });
    while (closes() === 0 && clock.now() < 10_000) {
      peer.stdout.write(`${JSON.stringify(notify(1))}\n`);
      await clock.advance(100);
    }
    await closed;
    expect(clock.now()).toBeGreaterThanOrEqual(2_000);
    expect(clock.now()).toBeLessThan(3_000);
  });

  test('that cuts its stdout off delivers all that had come', async () => {
    const { peer, messages, closed } = await start();
    const flood = Array.from({ length: 50_000 }, (_, n) => `${JSON.stringify(notify(n))}\n`);
    peer.stdout.write(flood.join(''));
    await turn();
    peer.exit(1, { isHeld: true });
    peer.stdout.destroy();
    await closed;
    expect(messages).toHaveLength(50_000);
  });
});
