import { expect, test } from 'vitest';
import { type CountingKind, createCountingHost, type Work } from '../fixtures/http/counting-host.js';
import { Session, textOf } from '../fixtures/http/session.js';
import { type NginxOptions, startNginx } from '../support/nginx.js';
import { describeWithNginx } from '../support/real-parts.js';

/** A server of the SDK, an nginx before it, and a session through both. */
async function open(kind: CountingKind, nginx: Omit<NginxOptions, 'to'>, { work }: { work?: Work } = {}) {
  const stack = new AsyncDisposableStack();
  const host = stack.use(await createCountingHost(kind, work));
  const proxy = stack.use(await startNginx({ to: host.port, ...nginx }));
  const session = stack.use(
    new Session({
      url: `http://127.0.0.1:${proxy.port}${host.path}`,
      transport: kind === 'sse' ? 'sse' : 'auto',
    }),
  );
  expect(await session.begin()).toHaveProperty('result');
  return { host, proxy, session, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

const progressOf = ({ received }: Session) =>
  received.flatMap(({ message }) =>
    'method' in message && message.method === 'notifications/progress' ? [message.params?.progress] : [],
  );
const changesOf = ({ received }: Session) =>
  received.filter(({ message }) => 'method' in message && message.method.endsWith('list_changed')).length;

const kinds = ['events', 'resumable events', 'json', 'sse'] as const;
const bufferings = ['off', 'on', 'forced'] as const;
// HTTP+SSE cannot begin where events are held back: below.
const all = kinds.flatMap((kind) =>
  bufferings
    .filter((buffering) => kind !== 'sse' || buffering === 'off')
    .map((buffering) => [kind, buffering] as const),
);

describeWithNginx('behind nginx', () => {
  test.each(all)('%s, buffering %s: every call is answered, and was sent once', async (kind, buffering) => {
    const large = 'ö'.repeat(300_000);
    await using opened = await open(kind, { buffering }, { work: async (mark) => (mark === 'large' ? large : '') });
    const { session, host } = opened;
    const marks = Array.from({ length: 50 }, (_, index) => `m${index}`);
    const answers = await Promise.all(marks.map((mark) => session.call('count', { mark, ms: 0 })));
    expect(answers.map(textOf)).toEqual(marks.map((mark) => `answer:${mark}`));
    expect(textOf(await session.call('count', { mark: 'large', ms: 0 }))).toBe(`answer:large${large}`);
    expect([...host.executed.values()].every((times) => times === 1)).toBe(true);
    expect(host.executed.size).toBe(51);
    expect(session.errors).toEqual([]);
  });

  test.each(all.filter(([kind, buffering]) => kind !== 'json' && buffering !== 'forced'))(
    '%s, buffering %s: progress comes while the call runs',
    async (kind, buffering) => {
      const release = Promise.withResolvers<undefined>();
      const work: Work = async (_mark, progress) => {
        await progress(1);
        await progress(2);
        return release.promise;
      };
      await using opened = await open(kind, { buffering }, { work });
      const { session } = opened;
      const params = { name: 'count', arguments: { mark: 'a', ms: 0 }, _meta: { progressToken: 7 } };
      const id = session.ask('tools/call', params);
      await session.until('progress', () => progressOf(session).length === 2);
      expect(session.countOf(id)).toBe(0);
      release.resolve(undefined);
      expect(textOf(await session.answerOf(id))).toBe('answer:a');
      expect(progressOf(session)).toEqual([1, 2]);
    },
  );

  test.each(['events', 'resumable events'] as const)(
    '%s, buffering forced: what nginx holds back comes with the answer, in order',
    async (kind) => {
      const work: Work = async (_mark, progress) => {
        await progress(1);
        await progress(2);
        return undefined;
      };
      await using opened = await open(kind, { buffering: 'forced' }, { work });
      const { session } = opened;
      const params = { name: 'count', arguments: { mark: 'a', ms: 0 }, _meta: { progressToken: 7 } };
      expect(textOf(await session.request('tools/call', params))).toBe('answer:a');
      expect(progressOf(session)).toEqual([1, 2]);
    },
  );

  test('HTTP+SSE, buffering forced: an address that nginx holds back is told, and what to look at', async () => {
    await using host = await createCountingHost('sse');
    await using proxy = await startNginx({ to: host.port, buffering: 'forced' });
    const url = `http://127.0.0.1:${proxy.port}/sse`;
    await using session = new Session({ url, transport: 'sse' }, { runtime: { headersTimeoutMs: 1_000 } });
    await expect(session.begin()).rejects.toMatchObject({
      code: 'START_FAILED',
      server: 'vendor',
      message: expect.stringMatching(
        /GET \(stream of HTTP\+SSE\).* no answer within the time allowed; .* does a proxy hold its answer back\?/,
      ),
    });
  });
});

describeWithNginx('behind an nginx that cuts what is silent', () => {
  const readTimeoutMs = 2_000;

  /** Opens as above; a call of the tool ends when nginx has cut it off. */
  async function openSilent(kind: CountingKind, buffering: NginxOptions['buffering'] = 'off') {
    const cut = Promise.withResolvers<undefined>();
    const work: Work = (mark) => (mark === 'slow' ? cut.promise : Promise.resolve(undefined));
    const opened = await open(kind, { buffering, readTimeoutMs }, { work });
    void opened.host.cut.then(() => cut.resolve(undefined));
    return opened;
  }

  test.concurrent.each(['off', 'on'] as const)(
    'buffering %s: an answer whose stream was cut is taken up again',
    async (buffering) => {
      await using opened = await openSilent('resumable events', buffering);
      const { session, host } = opened;
      expect(textOf(await session.call('count', { mark: 'slow', ms: 0 }))).toBe('answer:slow');
      expect(host.executed.get('slow')).toBe(1);
    },
  );

  test.concurrent.each([
    ['events', 'off'],
    ['events', 'on'],
    ['events', 'forced'],
    // What nginx held back is lost with the stream, the ids of its events as well.
    ['resumable events', 'forced'],
  ] as const)('%s, buffering %s: an answer that cannot be taken up fails alone, once', async (kind, buffering) => {
    await using opened = await openSilent(kind, buffering);
    const { session, host } = opened;
    const { error } = await session.call('count', { mark: 'slow', ms: 0 });
    expect(error).toMatchObject({ data: { server: 'vendor', delivered: 'unknown' } });
    expect(error?.message).toMatch(/POST tools\/call.*(?:cut the connection|does a proxy cut it\?)/);
    expect(textOf(await session.call('count', { mark: 'quick', ms: 0 }))).toBe('answer:quick');
    expect(host.executed.get('slow')).toBe(1);
    expect(session.closes).toBe(0);
  });

  test.concurrent('an answer in JSON that is late: 504, with what it means', async () => {
    await using opened = await openSilent('json');
    const { session, host } = opened;
    const { error } = await session.call('count', { mark: 'slow', ms: 0 });
    expect(error).toMatchObject({ data: { code: 'HTTP_STATUS', status: 504, delivered: 'unknown' } });
    expect(error?.message).toMatch(/a proxy before the server waited too long for it.*504 Gateway Time-out/);
    expect(textOf(await session.call('count', { mark: 'quick', ms: 0 }))).toBe('answer:quick');
    expect(host.executed.get('slow')).toBe(1);
  });

  test.concurrent('the stream for what belongs to no request is opened again, and what comes then arrives', async () => {
    await using opened = await openSilent('resumable events');
    const { session, host } = opened;
    await host.listened(2);
    host.notify();
    await session.until('the news', () => changesOf(session) > 0);
    expect(changesOf(session)).toBe(1);
    expect(session.closes).toBe(0);
  });

  test.concurrent('the stream of HTTP+SSE is the session: its end is told with its reason', async () => {
    await using opened = await openSilent('sse');
    const { session } = opened;
    const { error } = await session.call('count', { mark: 'slow', ms: 0 });
    // The server had acknowledged it.
    expect(error).toMatchObject({ data: { code: 'SESSION_LOST', delivered: true } });
    await session.until('onclose', () => session.closes === 1);
    expect(session.errors.at(-1)).toMatchObject({ code: 'SESSION_LOST', exit: { reason: 'stream-ended' } });
  });
});

describeWithNginx('what nginx says by itself', () => {
  test('the server is gone: 502', async () => {
    await using opened = await open('events', { buffering: 'on' });
    const { session, host } = opened;
    await host[Symbol.asyncDispose]();
    const { error } = await session.call('count', { mark: 'a', ms: 0 });
    expect(error).toMatchObject({ data: { code: 'HTTP_STATUS', status: 502 } });
    expect(error?.message).toMatch(/a proxy before the server could not reach it.*502 Bad Gateway/);
  });

  test('a request that is too large for it: 413', async () => {
    await using opened = await open('events', { buffering: 'on' });
    const { session, host } = opened;
    const { error } = await session.call('count', { mark: 'x'.repeat(1_500_000), ms: 0 });
    expect(error).toMatchObject({ data: { code: 'HTTP_STATUS', status: 413, delivered: false } });
    expect(textOf(await session.call('count', { mark: 'small', ms: 0 }))).toBe('answer:small');
    expect([...host.executed.keys()]).toEqual(['small']);
  });

  test('it is gone itself: said to be so, and that nothing was delivered', async () => {
    await using opened = await open('json', { buffering: 'on' });
    const { session, proxy } = opened;
    await proxy.stop();
    const { error } = await session.call('count', { mark: 'a', ms: 0 });
    expect(error).toMatchObject({ data: { code: 'CONNECTION_FAILED', delivered: false } });
    expect(error?.message).toMatch(/nobody listens at/);
  });
});
