import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { GatewayError } from '../../src/errors.js';
import { createGateway } from '../../src/index.js';
import { toGatewayError } from '../../src/instance/handshake.js';
import { createRedactor } from '../../src/instance/redact.js';
import { StrictTransport } from '../../src/instance/strict-transport.js';
import { settle } from '../support/fake-clock.js';
import { ScriptedTransport } from '../support/scripted-runtime.js';

const notification = { jsonrpc: '2.0', method: 'notifications/x' } as const;

const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;

function setUp() {
  const inner = new ScriptedTransport();
  const strict = new StrictTransport(inner, 'a', createRedactor(new Map()));
  const log: unknown[] = [];
  const listener = {
    onMessage: () => log.push('message'),
    onTrouble: (error: GatewayError) => log.push(['trouble', error.code]),
    onEnding: (reason: GatewayError | undefined) => log.push(['ending', reason?.code]),
    onClosed: () => log.push('closed'),
  };
  /** Sends, and tells what became of it; nothing may be told inside the call. */
  const send = async () => {
    const outcomes: unknown[] = [];
    const left = strict.send(notification, undefined, (error) => outcomes.push(error));
    expect(outcomes).toEqual([]);
    await settle();
    return left ? 'left' : outcomes;
  };
  return { inner, strict, log, listener, send };
}

describe('what a runtime returned', () => {
  test('an end is told once, whatever else its runtime says of it', async () => {
    const { inner, strict, log, listener } = setUp();
    await strict.start(listener);
    // What it holds goes slowly.
    inner.close = () => new Promise(() => {});
    for (const code of [3, 4]) {
      inner.onerror?.(new GatewayError('SERVER_EXITED', 'it ended', { exit: { code, stderrTail: '' } }));
    }
    inner.onclose?.();
    expect(log).toEqual([['ending', 'SERVER_EXITED'], 'closed']);
  });

  test('a send that throws or rejects, error or not, has failed', async () => {
    const { inner, strict, listener, send } = setUp();
    await strict.start(listener);
    const ways: (() => Promise<void>)[] = [
      () => {
        throw new Error('broken');
      },
      () => Promise.reject(new Error('broken')),
      () => Promise.reject('broken'),
    ];
    for (const way of ways) {
      inner.send = way;
      const message = '"a": the message could not be sent: broken';
      expect(await send()).toMatchObject([{ code: 'TRANSPORT_CLOSED', message }]);
    }
    // No promise at all.
    inner.send = (() => {}) as never;
    expect(await send()).toEqual([undefined]);
  });

  test('a revision of the protocol that it does not take is told as a failure of its server', () => {
    const { inner, strict } = setUp();
    Object.assign(inner, {
      setProtocolVersion() {
        throw new Error('too new');
      },
    });
    expect(() => strict.setProtocolVersion('2025-11-25')).toThrow(
      expect.objectContaining({
        code: 'START_FAILED',
        message: '"a": the connection does not take the revision of the protocol: too new',
      }),
    );
  });

  test('takes nothing after the end, and says why', async () => {
    const failed = setUp();
    await failed.strict.start(failed.listener);
    failed.strict.fail(new GatewayError('SERVER_UNHEALTHY', 'silent', { server: 'a', delivered: 'unknown' }));
    expect(await failed.send()).toMatchObject([{ code: 'SERVER_UNHEALTHY', delivered: false }]);
    const closed = setUp();
    await closed.strict.start(closed.listener);
    await closed.strict.close();
    expect(await closed.send()).toMatchObject([{ code: 'TRANSPORT_CLOSED', delivered: false }]);
    expect([...failed.inner.sent, ...closed.inner.sent]).toEqual([]);
  });

  test('that ends before anybody listens is told of then, and its end when it comes', async () => {
    const { inner, strict, log, listener } = setUp();
    const closing = Promise.withResolvers<void>();
    inner.close = () => closing.promise;
    inner.say({ jsonrpc: '2.0', method: 'notifications/x' });
    strict.fail(new GatewayError('SERVER_UNHEALTHY', 'silent', { server: 'a' }));
    await strict.start(listener);
    expect(log).toEqual(['message', ['ending', 'SERVER_UNHEALTHY']]);
    closing.resolve();
    await settle();
    expect(log).toEqual(['message', ['ending', 'SERVER_UNHEALTHY'], 'closed']);
  });

  test.each([
    ['1,000 messages', notification, 1_000],
    ['1 MiB', { ...notification, params: { text: 'x'.repeat(600_000) } }, 2],
    ['one too deep to be written', { ...notification, params: { deep: JSON.parse(nested(50_000)) } }, 1],
  ])('keeps what it says while nobody takes it, and makes it wait after %s where it can', async (_, message, most) => {
    const { inner, strict, log, listener } = setUp();
    const held: string[] = [];
    Object.assign(inner, { pause: () => held.push('pause'), resume: () => held.push('resume') });
    await strict.watch(listener);
    for (let count = 1; count < most; count += 1) inner.say(message);
    expect(held).toEqual([]);
    inner.say(message);
    expect(log).toEqual([]);
    expect(held).toEqual(['pause']);
    await strict.start(listener);
    expect(log).toHaveLength(most);
    expect(held).toEqual(['pause', 'resume']);
    inner.say(message);
    expect(log).toHaveLength(most + 1);
    expect(held).toEqual(['pause', 'resume']);
  });

  test('that has said little goes on', async () => {
    const { inner, strict, log, listener } = setUp();
    const held: string[] = [];
    Object.assign(inner, { pause: () => held.push('pause'), resume: () => held.push('resume') });
    await strict.watch(listener);
    inner.say(notification);
    await strict.start(listener);
    expect(log).toEqual(['message']);
    expect(held).toEqual([]);
  });

  test('tells of its end while nobody takes what it says, and is started once', async () => {
    const { inner, strict, log, listener } = setUp();
    let starts = 0;
    inner.onstart = async () => {
      starts += 1;
    };
    await strict.watch(listener);
    await strict.start(listener);
    expect(starts).toBe(1);
    const unused = setUp();
    await unused.strict.watch(unused.listener);
    unused.inner.onclose?.();
    expect(unused.log).toEqual([['ending', 'SERVER_EXITED'], 'closed']);
    expect(log).toEqual([]);
  });

  test('says nothing after its end', async () => {
    const { inner, strict, log, listener } = setUp();
    await strict.start(listener);
    await strict.close();
    inner.onerror?.(new Error('late'));
    inner.onclose?.();
    inner.say(notification);
    expect(log).toEqual([['ending', undefined], 'closed']);
  });
});

describe('an error that holds a secret', () => {
  const redactor = createRedactor(new Map([['s3cret-value', '${TOKEN}']]));

  test('is told without it: in its message, its cause and the tail of stderr', () => {
    const cause = Object.assign(new RangeError('bad s3cret-value'), { argument: 's3cret-value' });
    const exit = { code: 1, stderrTail: 'said s3cret-value' };
    const redacted = redactor.error(
      new GatewayError('SERVER_EXITED', 'got s3cret-value', { server: 'a', exit, cause }),
    );
    expect(redacted).toMatchObject({ message: '"a": got ${TOKEN}', exit: { code: 1, stderrTail: 'said ${TOKEN}' } });
    expect(redacted.cause).toMatchObject({ name: 'RangeError', message: 'bad ${TOKEN}' });
    expect(redacted.cause).not.toHaveProperty('argument');
  });

  test('is told without it where the cause is no error', () => {
    const cause = { toString: () => 'bad s3cret-value' };
    expect(redactor.error(new GatewayError('START_FAILED', 'no', { cause })).cause).toBe('bad ${TOKEN}');
    const textless = new GatewayError('START_FAILED', 'no', { cause: Object.create(null) });
    expect(redactor.error(textless).cause).toBe('[object Object]');
  });

  test('is told at once where a server has written much that is no text', () => {
    const noText = '\ufffd'.repeat(200_000);
    const stderrTail = `\ufffd s3cret-value ${noText} s3cret-\ufffd\ufffd`;
    const redacted = redactor.error(new GatewayError('SERVER_EXITED', 'it ended', { exit: { stderrTail } }));
    expect(redacted.exit?.stderrTail === ` \${TOKEN} ${noText} `).toBe(true);
  });

  test('is one error however often it is told', () => {
    const error = new GatewayError('SERVER_EXITED', 'got s3cret-value');
    const redacted = redactor.error(error);
    expect(redactor.error(error)).toBe(redacted);
    expect(redactor.error(redacted)).toBe(redacted);
  });
});

test.each([
  ['"a": it is full', 'it is full'],
  ['it is full', 'it is full'],
])('an answer of ours, %j, is the error that it was made of', (message, own) => {
  const data = { code: 'LIMIT_REACHED', exit: { stderrTail: '' } };
  expect(toGatewayError('a', { code: 1, message, data })).toMatchObject({
    code: 'LIMIT_REACHED',
    message: `"a": ${own}`,
    exit: { stderrTail: '' },
  });
  expect(toGatewayError('a', { code: 1, message, data: { code: 'of the server' } })).toBeUndefined();
});

test.each([[undefined], [null], ['x'], [{}], [{ connect() {}, close() {} }]])(
  'open() that returns %o is told apart from a connection that fails',
  async (returned) => {
    const factory = { type: 'f', spec: v.looseObject({}), open: async () => returned as never };
    await using gateway = createGateway({ servers: [{ id: 'a', runtime: { type: 'f' } }] }, { runtimes: [factory] });
    await expect(gateway.start('a')).rejects.toMatchObject({
      code: 'START_FAILED',
      message: '"a": open() of the runtime "f" returned no transport',
    });
  },
);
test.each<[string, object]>([
  ['a text', { stderrTail: 'oh no' }],
  [
    'a function that throws',
    {
      stderrTail: () => {
        throw new Error('not now');
      },
    },
  ],
  ['a function that returns no text', { stderrTail: () => 7 }],
])('stderrTail that is %s is none', (_, more) => {
  const { inner, strict } = setUp();
  Object.assign(inner, more);
  expect(strict.stderrTail).toBeUndefined();
});
