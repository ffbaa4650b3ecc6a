import { expect, test } from 'vitest';
import type { JSONRPCMessage, MessageExtraInfo, RequestId } from '../../src/sdk.js';
import { settle } from '../support/fake-clock.js';
import { ModernTestCaller } from './modern-caller.js';
import { hold, type Json, type Script, type ScriptedInstance } from './scripted-server.js';
import { setUp } from './setup.js';

// Several connections of one caller share its servers: what a server asks one of them must not get mixed up with what it
// asks another.

const script = { tools: [{ name: 'x', inputSchema: { type: 'object' } }] };
const capabilities = { sampling: {} };
const options = { caller: { id: 'same' } };

async function setUpTwo() {
  const t = setUp({ a: script });
  const first = await t.caller(capabilities, options);
  const second = await t.caller(capabilities, options);
  await first.result('tools/call', { name: 'a__x' });
  await second.result('tools/call', { name: 'a__x' });
  return { t, first, second, instance: t.server('a').only };
}

test('a server that withdraws a request withdraws that one, from the connection that was asked', async () => {
  const { t, first, second, instance } = await setUpTwo();
  await using _ = t;
  // The id of the second is what the first would be called by who counts them.
  instance.say({ id: 7, method: 'sampling/createMessage', params: { number: 7 } });
  instance.say({ id: 1, method: 'sampling/createMessage', params: { number: 1 } });
  const [seven, one] = await second.until(() => {
    const requests = second.requests('sampling/createMessage');
    return requests.length === 2 ? requests : undefined;
  });
  instance.notify('notifications/cancelled', { requestId: 1, reason: 'no longer' });
  expect(await second.notification('notifications/cancelled')).toEqual({ requestId: one?.id, reason: 'no longer' });
  await second.send({ id: one?.id, result: { late: true } });
  await second.send({ id: seven?.id, result: { number: 7 } });
  await settle();
  expect(instance.answers(7)).toMatchObject([{ result: { number: 7 } }]);
  expect(instance.answers(1)).toEqual([]);
  expect(first.notifications('notifications/cancelled')).toEqual([]);
  expect(second.notifications('notifications/cancelled')).toHaveLength(1);
});

test('the withdrawal of a request that nobody was asked reaches nobody', async () => {
  const { t, first, second, instance } = await setUpTwo();
  await using _ = t;
  instance.say({ id: 7, method: 'sampling/createMessage', params: {} });
  await second.until(() => second.requests('sampling/createMessage')[0]);
  for (const requestId of [1, '7', undefined]) {
    instance.notify('notifications/cancelled', { requestId });
  }
  await settle();
  expect([first, second].flatMap((caller) => caller.notifications('notifications/cancelled'))).toEqual([]);
});

test('what a caller tells of the progress of its answer reaches the server', async () => {
  const { t, second, instance } = await setUpTwo();
  await using _ = t;
  const asked = instance.ask(7, 'sampling/createMessage', { _meta: { progressToken: 't' } });
  const [request] = await second.until(() => {
    const requests = second.requests('sampling/createMessage');
    return requests.length === 1 ? requests : undefined;
  });
  const { progressToken } = ((request as Json).params as Json)._meta as Json;
  await second.send({ method: 'notifications/progress', params: { progressToken, progress: 1 } });
  await second.send({ id: request?.id, result: {} });
  await asked;
  expect(instance.notifications('notifications/progress').map(({ params }) => params)).toEqual([
    { progressToken: 't', progress: 1 },
  ]);
});

test('a question goes to the connection that asked last and can answer it', async () => {
  await using t = setUp({ a: script });
  const able = await t.caller(capabilities, options);
  await able.result('tools/call', { name: 'a__x' });
  const stateless = await ModernTestCaller.open(t.gateway.connect(options));
  await stateless.call('a__x');
  const { only } = t.server('a');
  const asked = only.ask(7, 'sampling/createMessage', {});
  const request = await able.until(() => able.requests('sampling/createMessage')[0]);
  await able.send({ id: request.id, result: { text: 'yes' } });
  expect(await asked).toMatchObject({ result: { text: 'yes' } });
  // Nobody can answer this.
  expect(await only.ask(8, 'roots/list')).toMatchObject({ error: { code: -32601 } });
});

/** Says something on the stream of a request, as servers over HTTP do. */
function sayIn({ id }: { readonly id: RequestId }, instance: ScriptedInstance, message: Json): void {
  instance.onmessage?.({ jsonrpc: '2.0', ...message } as JSONRPCMessage, { relatedRequestId: id } as MessageExtraInfo);
}

const holding: Script = { ...script, on: { 'tools/call': () => hold } };

test('a question that comes with a request goes to the connection which sent that, whoever asked last', async () => {
  await using t = setUp({ a: holding });
  await using first = await t.caller(capabilities, options);
  await using second = await t.caller(capabilities, options);
  void first.request('tools/call', { name: 'a__x' });
  const { instance, request } = await t.server('a').request('tools/call');
  void second.request('tools/call', { name: 'a__x' });
  await t.server('a').request('tools/call', 1);
  sayIn(request, instance, { id: 7, method: 'sampling/createMessage', params: {} });
  const question = await first.until(() => first.requests('sampling/createMessage')[0]);
  await first.send({ id: question.id, result: { text: 'yes' } });
  await settle();
  expect(instance.answers(7)).toMatchObject([{ result: { text: 'yes' } }]);
  expect(second.requests('sampling/createMessage')).toEqual([]);
});

test('a question that comes with no request goes to a connection which waits for the server, before one that asked later', async () => {
  await using t = setUp({ a: { ...script, on: { 'tools/call': ({ params }) => (params?.arguments ? hold : {}) } } });
  await using first = await ModernTestCaller.open(t.gateway.connect(options), { sampling: {} });
  await using second = await ModernTestCaller.open(t.gateway.connect(options), { sampling: {}, roots: {} });
  const called = first.request('tools/call', { name: 'a__x', arguments: {} });
  const { instance } = await t.server('a').request('tools/call');
  await second.call('a__x');
  instance.say({ id: 7, method: 'sampling/createMessage', params: {} });
  expect(await called).toMatchObject({ result: { resultType: 'input_required' } });
  expect(instance.answers(7)).toEqual([]);
});

test.each([
  ['where connections of a caller share the server', {}, sayIn],
  [
    'where each request has a server of its own',
    { isolation: 'request' },
    (_: unknown, instance: ScriptedInstance, message: Json) => instance.say(message),
  ],
])('what a server says in the course of a request belongs to that request, %s', async (_, entry, say) => {
  await using t = setUp({ a: holding }, { entry });
  await using caller = await ModernTestCaller.open(t.gateway.connect(options), { elicitation: {} });
  const call = (n: number) => {
    // Nobody but the second wants to read the log.
    const _meta = n === 1 ? { 'io.modelcontextprotocol/logLevel': 'info' } : {};
    void caller.request('tools/call', { name: 'a__x', arguments: { n }, _meta }, n);
    return t.server('a').request('tools/call', n);
  };
  const [, { instance, request }] = [await call(0), await call(1), await call(2)];
  const log = { level: 'info', data: 'of the second' };
  say(request, instance, { method: 'notifications/message', params: log });
  say(request, instance, { id: 7, method: 'elicitation/create', params: { message: '?', requestedSchema: {} } });
  expect(await caller.until(() => caller.received.find((message) => 'result' in message))).toMatchObject({
    id: 1,
    result: { resultType: 'input_required' },
  });
  expect(caller.notifications('notifications/message')).toEqual([log]);
});
