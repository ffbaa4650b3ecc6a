import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import {
  type ClientCapabilities,
  CreateMessageRequestSchema,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { expect, test } from 'vitest';
import { createConformanceServer } from '../fixtures/conformance/server.js';

// The scenarios are satisfied by any text; these tests hold the fixture to the exact one.

async function connect(capabilities: ClientCapabilities = {}) {
  const [near, far] = InMemoryTransport.createLinkedPair();
  const client = new Client({ name: 'test', version: '1' }, { capabilities });
  await createConformanceServer().connect(far);
  await client.connect(near);
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.close() });
}

test('unknown tools, prompts and resources are errors of the protocol', async () => {
  await using client = await connect();
  await expect(client.callTool({ name: 'nothing' })).rejects.toMatchObject({ code: -32602 });
  await expect(client.getPrompt({ name: 'nothing' })).rejects.toMatchObject({ code: -32602 });
  await expect(client.readResource({ uri: 'test://nothing' })).rejects.toMatchObject({ code: -32002 });
  await expect(client.callTool({ name: 'test_sampling' })).rejects.toMatchObject({ code: -32602 });
});

test('a tool that fails answers with its message, and so does one that asks more than the client can do', async () => {
  await using client = await connect();
  expect(await client.callTool({ name: 'test_error_handling' })).toEqual({
    isError: true,
    content: [{ type: 'text', text: 'This tool intentionally returns an error for testing' }],
  });
  expect(await client.callTool({ name: 'test_sampling', arguments: { prompt: 'hello' } })).toMatchObject({
    isError: true,
    content: [{ text: expect.stringContaining('does not support sampling') }],
  });
});

test('sampling carries the prompt there and the answer back', async () => {
  await using client = await connect({ sampling: {} });
  client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => {
    const content = params.messages[0]?.content;
    const asked = content !== undefined && !Array.isArray(content) && content.type === 'text' ? content.text : '';
    return { role: 'assistant', model: 'test', content: { type: 'text', text: `${asked} to you` } };
  });
  expect(await client.callTool({ name: 'test_sampling', arguments: { prompt: 'hello' } })).toEqual({
    content: [{ type: 'text', text: 'LLM response: hello to you' }],
  });
});

test('log messages below the level stay away', async () => {
  await using client = await connect();
  const messages: unknown[] = [];
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void messages.push(params.data));

  await client.setLoggingLevel('warning');
  await client.callTool({ name: 'test_tool_with_logging' });
  expect(messages).toEqual([]);

  await client.setLoggingLevel('debug');
  await client.callTool({ name: 'test_tool_with_logging' });
  expect(messages).toEqual(['Tool execution started', 'Tool processing data', 'Tool execution completed']);
});

test('only a subscription brings updates', async () => {
  await using client = await connect();
  const updates: string[] = [];
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => void updates.push(params.uri));
  const update = () => client.callTool({ name: 'test_update_watched_resource' });
  const uri = 'test://watched-resource';

  await update();
  expect(updates).toEqual([]);
  await client.subscribeResource({ uri });
  await update();
  expect(updates).toEqual([uri]);
  await client.unsubscribeResource({ uri });
  await update();
  expect(updates).toEqual([uri]);
});

test('runs over stdio as an executable', async () => {
  const path = fileURLToPath(new URL('../fixtures/conformance/stdio.ts', import.meta.url));
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(new StdioClientTransport({ command: process.execPath, args: [path] }));
  try {
    expect(await client.callTool({ name: 'test_simple_text' })).toEqual({
      content: [{ type: 'text', text: 'This is a simple text response for testing.' }],
    });
  } finally {
    await client.close();
  }
});
