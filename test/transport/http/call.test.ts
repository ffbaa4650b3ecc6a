import type { Dispatcher } from 'undici';
import { describe, expect, test } from 'vitest';
import { Backoff } from '../../../src/transport/http/backoff.js';
import { type BodySink, CallFailure, HttpCall } from '../../../src/transport/http/call.js';
import { readEvents } from '../../../src/transport/http/events.js';
import { Leftovers } from '../../../src/transport/http/leftovers.js';
import { OpenRequest } from '../../../src/transport/http/open-request.js';
import { FakeClock } from '../../support/fake-clock.js';
import { WrittenAnswer } from './written-answer.js';

/** A call whose connection the test plays. */
function begin() {
  const aborts: string[] = [];
  const controller = {
    abort: (reason: Error) => void aborts.push(reason.message),
    pause() {},
    resume() {},
  } as unknown as Dispatcher.DispatchController;
  const url = new URL('http://there.example/mcp');
  const call = new HttpCall({ dispatch: () => true }, { url, method: 'GET', headers: {}, headersTimeoutMs: 0 });
  call.answer.catch(() => {});
  const heard: string[] = [];
  const sink: BodySink = {
    data: (chunk) => void heard.push(String(chunk)),
    end: () => void heard.push('(end)'),
    fail: (cause) => void heard.push(`(${cause.message})`),
  };
  return {
    call,
    aborts,
    heard,
    sink,
    start: () => call.onRequestStart(controller),
    answer: (status: number, headers: Record<string, string | string[]> = {}) =>
      call.onResponseStart(controller, status, headers),
    data: (text: string) => call.onResponseData(controller, Buffer.from(text)),
    fail: (message: string, more = {}) => call.onResponseError(controller, Object.assign(new Error(message), more)),
  };
}

describe('a request over HTTP', () => {
  test('that cannot be dispatched was not delivered', async () => {
    const dispatcher = {
      dispatch() {
        throw new TypeError('invalid header');
      },
    };
    const request = { url: new URL('http://there.example/'), method: 'GET', headers: {}, headersTimeoutMs: 0 } as const;
    const { answer } = new HttpCall(dispatcher, request);
    await expect(answer).rejects.toThrow(CallFailure);
    await expect(answer).rejects.toMatchObject({ message: 'invalid header', delivered: false });
  });

  test.each<[string, boolean, object, false | 'unknown']>([
    ['before it was put on a connection', false, {}, false],
    ['afterwards', true, {}, 'unknown'],
    ['on a connection that led nowhere', true, { delivered: false }, false],
  ])('that fails %s says whether the server may have it', async (_when, begun, more, delivered) => {
    const t = begin();
    if (begun) t.start();
    t.fail('cut', more);
    await expect(t.call.answer).rejects.toMatchObject({ message: 'cut', delivered });
  });

  test('that is aborted before it has left ends its connection when it gets one', async () => {
    const t = begin();
    t.call.abort();
    t.start();
    expect(t.aborts).toEqual(['the request was aborted before it left']);
    await expect(t.call.answer).rejects.toMatchObject({ delivered: false });
  });

  test('gets a hundred hints that the answer will come, and no more', async () => {
    const t = begin();
    t.start();
    for (let n = 0; n < 100; n++) t.answer(103);
    expect(t.aborts).toEqual([]);
    t.answer(200, { link: ['a', 'b'], 'content-type': 'text/plain' });
    const answer = await t.call.answer;
    expect([answer.status, answer.header('link'), answer.header('content-type')]).toEqual([200, 'a, b', 'text/plain']);
    const flooded = begin();
    flooded.start();
    for (let n = 0; n <= 100; n++) flooded.answer(103);
    expect(flooded.aborts).toEqual(['the server sent 100 answers of status 103']);
  });

  test('whose answer is read late loses none of it, also what cut it off', () => {
    const t = begin();
    t.start();
    t.answer(200);
    t.data('one');
    t.data('two');
    t.fail('cut');
    t.call.read(t.sink);
    expect(t.heard).toEqual(['one', 'two', '(cut)']);
  });

  test('says nothing after it was aborted, also in the middle of what had come', () => {
    const t = begin();
    t.start();
    t.answer(200);
    t.data('one');
    t.data('two');
    t.call.read({
      ...t.sink,
      data(chunk) {
        t.sink.data(chunk);
        t.call.abort();
      },
    });
    t.data('three');
    t.call.onResponseEnd();
    expect(t.heard).toEqual(['one', '(the request was aborted)']);
  });
});

describe('a stream of events', () => {
  function read(limitBytes = 1_000) {
    const answer = new WrittenAnswer();
    const heard: unknown[] = [];
    const sink = {
      event: (_type: string, data: string) => void heard.push(data),
      id: (id: string) => void heard.push({ id }),
      retry: (ms: number) => void heard.push({ ms }),
      end: (cause: Error | undefined) => void heard.push(cause?.message ?? 'end'),
    };
    const stop = readEvents(answer, limitBytes, sink);
    return { answer, heard, stop, sink, write: (text: string) => answer.sink?.data(Buffer.from(text)) };
  }

  test('that nobody reads any more says nothing, also in the middle of a chunk', () => {
    const t = read();
    t.sink.event = (_type, data) => {
      t.heard.push(data);
      t.stop();
    };
    t.write('data: 1\n\nid: 2\nretry: 3\ndata: 4\n\n');
    t.write('data: 5\n\n');
    t.answer.sink?.end();
    t.answer.sink?.fail(new Error('cut'));
    expect(t.heard).toEqual(['1']);
    expect(t.answer.done).toEqual(['abort']);
  });

  test.each([
    ['an event of many bytes', `data: ${'é'.repeat(60)}\n\n`],
    ['an event of a few bytes', `data: ${'x'.repeat(101)}\n\n`],
    ['an event that does not end', `data: ${'x'.repeat(200)}`],
  ])('ends with %s over the limit, once', async (_what, text) => {
    const t = read(100);
    t.write('data: ok\n\n');
    t.write(text);
    t.write('data: more\n\n');
    t.answer.sink?.fail(new Error('cut'));
    await Promise.resolve();
    expect(t.heard).toEqual(['ok', 'the body is larger than 100 bytes']);
    expect(t.answer.done).toEqual(['abort']);
  });

  test('takes an event of just the limit', () => {
    const t = read(100);
    t.write(`data: ${'é'.repeat(50)}\n\ndata: ${'x'.repeat(100)}\n\n`);
    expect(t.heard).toEqual(['é'.repeat(50), 'x'.repeat(100)]);
  });

  test.each([
    ['plain', 'plain'],
    ['é', Buffer.from('é').toString('latin1')],
    ['x'.repeat(4 * 1024), 'x'.repeat(4 * 1024)],
    ['x'.repeat(4 * 1024 + 1), ''],
    ['a\u0007b', ''],
  ])('has an id, %j, that a header can hold, or none', (id, held) => {
    const t = read(10_000);
    t.write(`id: ${id}\n\n`);
    expect(t.heard).toEqual([{ id: held }]);
  });
});

describe('answers that nobody needs', () => {
  const written = () => {
    const answer = new WrittenAnswer();
    return { answer, write: (bytes: number) => answer.sink?.data(Buffer.alloc(bytes)) };
  };

  test('are read to their end while that is worth it', async () => {
    const clock = new FakeClock();
    const leftovers = new Leftovers(clock);
    const [short, long, slow] = [written(), written(), written()];
    for (const { answer } of [short, long, slow]) leftovers.discard(answer);
    short.write(64 * 1024);
    short.answer.sink?.end();
    long.write(64 * 1024 + 1);
    await clock.advance(5_000);
    expect([short, long, slow].map(({ answer }) => answer.done.length > 0)).toEqual([false, true, true]);
    expect(clock.waiting).toBe(0);
  });

  test('end at once when their transport has closed', () => {
    const clock = new FakeClock();
    const leftovers = new Leftovers(clock);
    const [before, after] = [written(), written()];
    leftovers.discard(before.answer);
    leftovers.close();
    leftovers.discard(after.answer);
    expect([before, after].map(({ answer }) => answer.done)).toEqual([['abort'], ['abort']]);
    expect(clock.waiting).toBe(0);
  });
});

test('a request that is over waits no more, and asks for no rest', async () => {
  const clock = new FakeClock();
  const exchange = () => ({
    aborts: 0,
    abort() {
      this.aborts += 1;
    },
  });
  const [first, rest] = [exchange(), exchange()];
  const ping = { jsonrpc: '2.0', id: 1, method: 'ping' } as const;
  const open = new OpenRequest(ping, first as never, {
    version: undefined,
    replay: false,
    step: { server: 'x', name: 'POST ping', url: new URL('http://x/') },
    onNoAccess: 'ask',
    send: {},
  });
  const waited = open.pause(1_000, clock);
  open.cancel();
  await waited;
  await open.pause(1_000, clock);
  open.goOn(rest as never);
  expect([clock.waiting, first.aborts, rest.aborts]).toEqual([0, 1, 1]);
});

test('a stream that has lasted ten seconds was a good one: the next break is the first again', async () => {
  const clock = new FakeClock();
  const backoff = new Backoff(clock, () => 0);
  const waits = async (lasts: number) => {
    backoff.opened();
    await clock.advance(lasts);
    return backoff.next(false);
  };
  const given: number[] = [];
  for (const lasts of [0, 0, 0, 0, 0, 9_999, 10_000, 0]) given.push(await waits(lasts));
  expect(given).toEqual([100, 200, 400, 1_000, 1_500, 2_250, 100, 200]);
});
