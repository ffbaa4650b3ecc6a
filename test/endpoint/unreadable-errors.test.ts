import { describe, expect, test } from 'vitest';
import { ModernTestCaller } from './modern-caller.js';
import { statelessServer } from './modern-servers.js';
import { hold, type Json, type Script } from './scripted-server.js';
import { setUp } from './setup.js';
import { TestCaller } from './test-caller.js';

/** As JSON can hold them, and `String()` throws for some. */
const errors = [
  ['a code that is none', { code: { toString: 1 }, message: 'no' }, { code: -32603, message: 'no' }],
  ['a code that no client counts to', { code: 1e20, message: 'no' }, { code: -32603, message: 'no' }],
  [
    'a message without a text',
    { code: -32001, message: { toString: 1 } },
    { code: -32001, message: '[object Object]' },
  ],
  [
    'a message that is none, and a code of ours',
    { code: -32001, message: 5, data: { code: 'HTTP_STATUS' } },
    { code: -32001, message: '5', data: { code: 'HTTP_STATUS' } },
  ],
  ['an array in its place', ['no'], { code: -32603, message: 'no reason given' }],
] as const;

const withTasks = { extensions: { 'io.modelcontextprotocol/tasks': {} } };
const task = { taskId: 't1', status: 'working', createdAt: '2026-07-28T10:00:00Z', lastUpdatedAt: '', ttl: null };

/** A server that answers requests of a method with an error, whatever that is. */
function refusing(method: string, error: unknown, more: Partial<Script> = {}): Script {
  return {
    tools: [{ name: 'go' }],
    ...more,
    on: {
      ...more.on,
      [method]: (request, instance) => {
        instance.say({ id: request.id, error });
        return hold;
      },
    },
  };
}

describe.each(errors)('an error with %s', (_, error, shown) => {
  test('ends a call, with an interceptor and without', async () => {
    for (const options of [{}, { intercept: (_request: unknown, next: () => Promise<Json>) => next() }]) {
      await using t = setUp({ one: refusing('tools/call', error) }, options);
      await using caller = await t.caller();
      expect(await caller.error('tools/call', { name: 'one__go' })).toEqual(shown);
    }
  });

  test('ends a list, and what it costs is that of one server', async () => {
    await using t = setUp({ one: refusing('tools/list', error), two: { tools: [{ name: 'go' }] } });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['two__go']);
    expect(t.events).toContainEqual(expect.objectContaining({ type: 'list-incomplete', server: 'one' }));
  });

  test('ends a question about a task', async () => {
    const capabilities = { tools: {}, tasks: { requests: { tools: { call: {} } } } };
    const tools = [{ name: 'go', execution: { taskSupport: 'required' } }];
    const script = refusing('tasks/get', error, { tools, capabilities, on: { 'tools/call': () => ({ task }) } });
    await using t = setUp({ one: script });
    await using caller = await ModernTestCaller.open(t.gateway.connect(), withTasks);
    await caller.result('tools/list');
    const { taskId } = await caller.call('one__go');
    expect(await caller.error('tasks/get', { taskId })).toEqual(shown);
  });
});

test('an error without a text ends a call on a raw connection with an interceptor, as it came', async () => {
  const error = { code: -32001, message: { toString: 1 }, data: { code: 'HTTP_STATUS' } };
  await using t = setUp({ one: refusing('tools/call', error) }, { intercept: (_request, next) => next() });
  await using caller = await TestCaller.open(t.gateway.connect('one'));
  expect(await caller.error('tools/call', { name: 'go' })).toEqual(error);
});

test('an error between the gateway and a stateless server ends a call also without a text', async () => {
  const { on } = refusing('tools/call', { code: -32020, message: { toString: 1 } });
  const script = statelessServer(on);
  await using t = setUp({ one: script });
  await using caller = await t.caller();
  expect(await caller.error('tools/call', { name: 'one__go' })).toMatchObject({ code: -32603 });
});
