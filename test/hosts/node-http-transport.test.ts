import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, expect, test, vi } from 'vitest';
import type { JSONRPCMessage, MessageExtraInfo, Transport } from '../../src/sdk.js';
import { withPart } from '../../src/transport/json-part.js';
import { FakeClock, settle } from '../support/fake-clock.js';
import { createHttpHost, type HttpHost, type HttpHostOptions } from './http-host.js';
import { begin, open, send } from './raw-client.js';

interface Received {
  readonly message: JSONRPCMessage;
  readonly extra: MessageExtraInfo | undefined;
}

const hosts: HttpHost[] = [];
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.close();
});

/** A host with one session, whose transport the test holds: it answers `initialize` and leaves the rest to the test. */
async function createSession(options: HttpHostOptions = {}) {
  const received: Received[] = [];
  const onerror = vi.fn();
  const onclose = vi.fn();
  let transport: Transport | undefined;
  const host = await createHttpHost(async (given) => {
    transport = given;
    given.onerror = onerror;
    const forget = given.onclose;
    given.onclose = () => {
      forget?.();
      onclose();
    };
    given.onmessage = (message: JSONRPCMessage, extra?: MessageExtraInfo) => {
      if ('method' in message && message.method === 'initialize' && 'id' in message) {
        void given.send({ jsonrpc: '2.0', id: message.id, result: {} });
      } else {
        received.push({ message, extra });
      }
    };
    await given.start();
  }, options);
  hosts.push(host);
  const id = await begin(host.url);
  return { host, received, onerror, onclose, transport: transport as Transport, session: { 'mcp-session-id': id } };
}

type Session = Awaited<ReturnType<typeof createSession>>;

const request = (id: string | number, method = 'tools/call') => ({ jsonrpc: '2.0' as const, id, method });
const answerFor = (id: string | number, result = {}) => ({ jsonrpc: '2.0' as const, id, result });
const until = (condition: () => boolean) => vi.waitFor(() => expect(condition()).toBe(true), { timeout: 60_000 });

/** Sends a body, and waits until the session has got so many messages. */
async function post({ host, session, received }: Session, body: unknown, messages = received.length + 1) {
  const outgoing = open(host.url, 'POST', session);
  const head = (async () => (await once(outgoing, 'response'))[0] as IncomingMessage)();
  // Of a client that leaves nobody waits for it.
  head.catch(() => {});
  outgoing.end(JSON.stringify(body));
  await until(() => received.length === messages);
  return { outgoing, head };
}

async function read(head: Promise<IncomingMessage>) {
  const incoming = await head;
  const body = await text(incoming);
  const type = incoming.headers['content-type'];
  const messages =
    type === 'application/json'
      ? [JSON.parse(body)]
      : body
          .split('\n')
          .filter((line) => line.startsWith('data: '))
          .map((line) => JSON.parse(line.slice(6)));
  return { status: incoming.statusCode, type, headers: incoming.headers, messages };
}

test('an answer that comes first is JSON, with its length and the session', async () => {
  const session = await createSession();
  const { head } = await post(session, request('ä'));
  await session.transport.send(answerFor('ä', { text: 'ü\u2028' }));
  const answer = await read(head);
  expect(answer).toMatchObject({
    status: 200,
    type: 'application/json',
    messages: [answerFor('ä', { text: 'ü\u2028' })],
  });
  expect(answer.headers).toMatchObject({ ...session.session, 'content-length': expect.any(String) });
});

test('what belongs to a request comes as events before its answer, and nothing of others', async () => {
  const session = await createSession();
  const first = await post(session, request(1));
  const second = await post(session, request(2));
  const progress = { jsonrpc: '2.0' as const, method: 'notifications/progress', params: { progress: 1 } };
  const question = { jsonrpc: '2.0' as const, id: 1, method: 'elicitation/create' };
  await session.transport.send(progress, { relatedRequestId: 1 });
  await session.transport.send(question, { relatedRequestId: 1 });
  await session.transport.send(answerFor(2));
  await session.transport.send(answerFor(1));
  expect(await read(first.head)).toMatchObject({
    status: 200,
    type: 'text/event-stream',
    messages: [progress, question, answerFor(1)],
  });
  expect(await read(second.head)).toMatchObject({ type: 'application/json', messages: [answerFor(2)] });
});

test('an answer that takes long begins as events, which comments keep alive', async () => {
  const clock = new FakeClock();
  const session = await createSession({ clock });
  const { head } = await post(session, request(1));
  await clock.advance(5_000);
  const incoming = await head;
  incoming.setEncoding('utf8');
  await clock.advance(15_000);
  expect(await once(incoming, 'data')).toEqual([': still here\n\n']);
  await session.transport.send(answerFor(1));
  expect(await text(incoming)).toBe(`event: message\ndata: ${JSON.stringify(answerFor(1))}\n\n`);
});

test('each answer of a batch is an event of its own', async () => {
  const session = await createSession();
  const initialized = { jsonrpc: '2.0', method: 'notifications/initialized' };
  const { head } = await post(session, [request(1), initialized, request('1')], 3);
  await session.transport.send(answerFor('1'));
  await session.transport.send(answerFor(1));
  expect(await read(head)).toMatchObject({
    type: 'text/event-stream',
    messages: [answerFor('1'), answerFor(1)],
  });
});

test('notifications and answers are 202, and come with who sent them', async () => {
  const session = await createSession();
  const { head } = await post(session, [answerFor(7), { jsonrpc: '2.0', method: 'notifications/x' }], 2);
  expect((await head).statusCode).toBe(202);
  expect(session.received.map(({ message }) => message)).toEqual([
    answerFor(7),
    { jsonrpc: '2.0', method: 'notifications/x' },
  ]);
  expect(session.received[0]?.extra?.requestInfo?.headers).toMatchObject(session.session);
});

test.each([
  ['no JSON-RPC', { method: 'ping' }, {}, 400, 'message'],
  ['an empty batch', [], {}, 400, 'message'],
  ['a batch with something else in it', [request(1), 1], {}, 400, 'message'],
  ['a batch of 101', Array.from({ length: 101 }, (_, id) => request(id)), {}, 400, 'message'],
  ['an id twice', [request(1), request(1)], {}, 400, 'message'],
  ['a second initialize', request(1, 'initialize'), {}, 400, 'message'],
  ['initialize among others', [request(1), request(2, 'initialize')], {}, 400, 'message'],
  ['an unknown revision', request(1), { 'mcp-protocol-version': '2020-01-01' }, 400, 'protocol-version'],
  ['an Accept header without events', request(1), { accept: 'application/json' }, 406, 'accept'],
  ['a body of text', request(1), { 'content-type': 'text/plain; a=application/json' }, 415, 'content-type'],
])('refuses %s, and nobody hears of it', async (_, body, headers, status, reason) => {
  const { host, session, received } = await createSession();
  expect(await send(host.url, body, { ...session, ...headers })).toMatchObject({ status, reason });
  expect(received).toEqual([]);
  expect(host.sessionCount).toBe(1);
});

test('a request id that is in use is refused, and the first request gets its answer', async () => {
  const session = await createSession();
  const { head } = await post(session, request(1));
  expect(await send(session.host.url, request(1), session.session)).toMatchObject({ status: 400, reason: 'message' });
  await session.transport.send(answerFor(1));
  expect(await read(head)).toMatchObject({ status: 200, messages: [answerFor(1)] });
  const again = await post(session, request(1));
  await session.transport.send(answerFor(1, { again: true }));
  expect(await read(again.head)).toMatchObject({ messages: [answerFor(1, { again: true })] });
});

test('a cancelled request holds no response, and its id is free again', async () => {
  const session = await createSession();
  const { head } = await post(session, request('slow'));
  const cancelled = { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'slow' } };
  expect((await (await post(session, cancelled)).head).statusCode).toBe(202);
  expect(await read(head)).toMatchObject({ status: 200, type: 'text/event-stream', messages: [] });
  // A late answer goes nowhere.
  await expect(session.transport.send(answerFor('slow'))).rejects.toThrow('nobody waits');
  const again = await post(session, request('slow'));
  await session.transport.send(answerFor('slow', { again: true }));
  expect((await read(again.head)).messages).toEqual([answerFor('slow', { again: true })]);
});

test('a request of a batch that is cancelled before it comes is answered, and one cancelled behind it is not', async () => {
  const session = await createSession();
  const cancel = (requestId: number) => ({
    jsonrpc: '2.0',
    method: 'notifications/cancelled',
    params: { requestId },
  });
  const { head } = await post(session, [cancel(7), request(7), request(8), cancel(8)], 4);
  await session.transport.send(answerFor(7));
  expect(await read(head)).toMatchObject({ status: 200, messages: [answerFor(7)] });
  await expect(session.transport.send(answerFor(8))).rejects.toThrow('nobody waits');
});

test('what belongs to no request goes to the stream, of which there is one', async () => {
  const { host, session, transport } = await createSession();
  const notification = { jsonrpc: '2.0' as const, method: 'notifications/tools/list_changed' };
  await transport.send(notification);
  expect(await send(host.url, undefined, { ...session, method: 'GET', accept: 'application/json' })).toMatchObject({
    status: 406,
    reason: 'accept',
  });
  const stream = open(host.url, 'GET', session);
  stream.end();
  const [incoming] = (await once(stream, 'response')) as [IncomingMessage];
  expect(await send(host.url, undefined, { ...session, method: 'GET' })).toMatchObject({
    status: 409,
    reason: 'stream-open',
  });
  await transport.send(notification);
  expect(String((await once(incoming, 'data'))[0])).toBe(`event: message\ndata: ${JSON.stringify(notification)}\n\n`);

  incoming.on('error', () => {});
  stream.destroy();
  await until(() => host.openRequests === 0);
  await settle();
  const next = open(host.url, 'GET', session);
  next.end();
  const [again] = (await once(next, 'response')) as [IncomingMessage];
  expect(again.statusCode).toBe(200);
});

const question = (id: number) => ({ jsonrpc: '2.0' as const, id, method: 'roots/list' });
const noStream = { code: -32603, message: expect.stringContaining('no stream open') };

test('what is asked before there is a stream waits for it, but for what is asked no more', async () => {
  const clock = new FakeClock();
  const { host, session, transport, received } = await createSession({ clock });
  const cancelled = { jsonrpc: '2.0' as const, method: 'notifications/cancelled', params: { requestId: 2 } };
  for (const message of [question(1), question(2), question(3), cancelled]) await transport.send(message);
  const stream = open(host.url, 'GET', session);
  stream.end();
  const [incoming] = (await once(stream, 'response')) as [IncomingMessage];
  await clock.advance(5_000);
  await transport.close();
  const events = (await text(incoming)).split('\n').filter((line) => line.startsWith('data: '));
  expect(events.map((line) => JSON.parse(line.slice(6)))).toEqual([question(1), question(3)]);
  expect(received).toEqual([]);
  expect(clock.waiting).toBe(0);
});

test('what is asked while no stream opens is answered with an error, and so is what is too much', async () => {
  const clock = new FakeClock();
  const { transport, received } = await createSession({ clock });
  const answers = () => received.map(({ message }) => message);
  for (let id = 1; id <= 101; id += 1) await transport.send(question(id), { relatedRequestId: 'gone' });
  await settle();
  expect(answers()).toMatchObject([{ id: 101, error: noStream }]);
  await clock.advance(4_999);
  expect(received).toHaveLength(1);
  await clock.advance(1);
  expect(answers().slice(1)).toMatchObject(
    Array.from({ length: 100 }, (_, index) => ({ id: index + 1, error: noStream })),
  );
  const huge = { ...question(1), params: { text: 'x'.repeat(9 * 1024 * 1024) } };
  await transport.send(huge);
  await transport.send({ ...huge, id: 2 });
  await settle();
  expect(answers().slice(101)).toMatchObject([{ id: 2, error: noStream }]);
  await transport.close();
  expect(received).toHaveLength(102);
});

test('a request goes on when its client has left: what it asks goes to the stream, its answer nowhere', async () => {
  const session = await createSession();
  const stream = open(session.host.url, 'GET', session.session);
  stream.end();
  const [incoming] = (await once(stream, 'response')) as [IncomingMessage];
  const { outgoing } = await post(session, request(1));
  outgoing.destroy();
  await until(() => session.host.openRequests === 1);
  await settle();

  const question = { jsonrpc: '2.0' as const, id: 1, method: 'elicitation/create' };
  await session.transport.send(question, { relatedRequestId: 1 });
  expect(String((await once(incoming, 'data'))[0])).toContain('elicitation/create');
  await expect(session.transport.send(answerFor(1))).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED' });
  await expect(session.transport.send(answerFor(1))).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED' });
});

test('the end of the session answers what is open, once, and ends the stream', async () => {
  const session = await createSession();
  const stream = open(session.host.url, 'GET', session.session);
  stream.end();
  const [incoming] = (await once(stream, 'response')) as [IncomingMessage];
  const { head } = await post(session, request(1));
  const batch = await post(session, [request(2), request(3)], 3);
  await session.transport.send(answerFor(2));
  await Promise.all([session.transport.close(), session.transport.close()]);
  const ended = { code: 1402, data: { code: 'TRANSPORT_CLOSED', delivered: 'unknown' } };
  expect(await read(head)).toMatchObject({ status: 200, messages: [{ id: 1, error: ended }] });
  expect(await read(batch.head)).toMatchObject({ messages: [answerFor(2), { id: 3, error: ended }] });
  expect(await text(incoming)).toBe('');
  expect(session.onclose).toHaveBeenCalledOnce();
  expect(session.host.sessionCount).toBe(0);
});

test('DELETE ends the session after an unknown revision was refused', async () => {
  const { host, session, onclose } = await createSession();
  const end = { ...session, method: 'DELETE' };
  expect(await send(host.url, undefined, { ...end, 'mcp-protocol-version': 'x' })).toMatchObject({ status: 400 });
  expect(onclose).not.toHaveBeenCalled();
  expect(await send(host.url, undefined, end)).toMatchObject({ status: 200 });
  expect(onclose).toHaveBeenCalledOnce();
});

test('a client that does not read is given up, and holds no more than it may', async () => {
  const { host, session, transport } = await createSession();
  const stream = open(host.url, 'GET', session);
  stream.end();
  const [incoming] = (await once(stream, 'response')) as [IncomingMessage];
  incoming.pause().on('error', () => {});
  const mebibyte = { jsonrpc: '2.0' as const, method: 'notifications/x', params: { text: 'x'.repeat(1024 * 1024) } };
  for (let sent = 0; sent < 64 && host.openRequests > 0; sent++) {
    await transport.send(mebibyte);
    await settle();
  }
  await until(() => host.openRequests === 0);
  stream.destroy();
  // The session is there all the same.
  expect(await send(host.url, { jsonrpc: '2.0', method: 'notifications/y' }, session)).toMatchObject({ status: 202 });
});

test('a client that leaves much unread of a response behind another one gets that, and is given up', async () => {
  const { host, received, session, transport } = await createSession();
  const { hostname, port } = new URL(host.url);
  const client = connect(Number(port), hostname).on('error', () => {});
  for (const id of ['first', 'second']) {
    const body = JSON.stringify(request(id));
    client.write(
      `POST /mcp HTTP/1.1\r\nhost: ${hostname}\r\nmcp-session-id: ${session['mcp-session-id']}\r\n` +
        'accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n' +
        `content-length: ${body.length}\r\n\r\n${body}`,
    );
    await until(() => received.some(({ message }) => 'id' in message && message.id === id));
  }
  const text = 'x'.repeat(1024 * 1024);
  for (let sent = 0; sent < 20; sent++) {
    const message = { jsonrpc: '2.0' as const, method: 'notifications/x', params: { text } };
    await transport.send(message, { relatedRequestId: 'second' });
  }
  await transport.send(answerFor('first', { isFirst: true }));
  let heard = '';
  client.on('data', (bytes) => {
    heard += String(bytes);
  });
  await once(client, 'close');
  expect(heard).toContain('"isFirst":true');
});

test('a large result is answered with the bytes that it came in, as JSON and as an event', async () => {
  const session = await createSession();
  const { transport } = session;
  const value = { text: 'é', exact: 1 };
  const json = Buffer.from('{"text":"\\u00e9","exact":1.000}');
  const send = (id: string) =>
    transport.send(
      { ...answerFor(id), result: value },
      withPart({}, { value, json: [json.subarray(0, 5), json.subarray(5)] }),
    );
  const whole = (id: string) => `{"jsonrpc":"2.0","id":"${id}","result":${json}}`;

  const first = await post(session, request('é'));
  await send('é');
  const alone = await first.head;
  expect(alone.headers['content-length']).toBe(String(Buffer.byteLength(whole('é'))));
  expect(await text(alone)).toBe(whole('é'));

  const second = await post(session, [request('a'), request('b')], 3);
  await send('a');
  await send('b');
  expect(await text(await second.head)).toBe(
    `event: message\ndata: ${whole('a')}\n\nevent: message\ndata: ${whole('b')}\n\n`,
  );
});

test('what throws in onmessage goes to onerror', async () => {
  const session = await createSession();
  const failure = new Error('no');
  session.transport.onmessage = () => {
    throw failure;
  };
  expect(await send(session.host.url, { jsonrpc: '2.0', method: 'x' }, session.session)).toMatchObject({ status: 202 });
  expect(session.onerror).toHaveBeenCalledExactlyOnceWith(failure);
});

test('what cannot be written as JSON is refused, and its request still waits', async () => {
  const session = await createSession();
  const { head } = await post(session, request(1));
  await expect(session.transport.send(answerFor(1, { size: 1n }))).rejects.toMatchObject({ code: 'MESSAGE_INVALID' });
  await session.transport.send(answerFor(1));
  expect(await read(head)).toMatchObject({ messages: [answerFor(1)] });
});

test('an answer that is nested too deeply to be written is another answer', async () => {
  const session = await createSession();
  const { head } = await post(session, request(1));
  await session.transport.send(answerFor(1, { deep: JSON.parse('['.repeat(100_000) + ']'.repeat(100_000)) }));
  expect(await read(head)).toMatchObject({ messages: [{ id: 1, error: { data: { code: 'MESSAGE_INVALID' } } }] });
});

test('takes nothing once it has ended, although its stream has not', async () => {
  const { host, session, transport } = await createSession();
  const stream = open(host.url, 'GET', session);
  stream.end();
  const [incoming] = (await once(stream, 'response')) as [IncomingMessage];
  await Promise.all([
    transport.close(),
    expect(transport.send({ jsonrpc: '2.0', method: 'notifications/x' })).rejects.toMatchObject({
      code: 'TRANSPORT_CLOSED',
      delivered: false,
    }),
  ]);
  expect(await text(incoming)).toBe('');
});
