import { afterEach, expect, test, vi } from 'vitest';
import { createGateway } from '../../src/index.js';
import type { JSONRPCMessage } from '../../src/sdk.js';
import { createReferenceServer } from '../../src/testing/index.js';

afterEach(() => void vi.useRealTimers());

const answers = `process.stdin.on('data', () => console.log('{"jsonrpc":"2.0","id":1,"result":{}}'))`;
const dies = `process.stdin.on('data', () => process.exit(3))`;
const child = (program: string) => ({
  type: 'local-process' as const,
  command: process.execPath,
  args: ['-e', program],
});

// Tests that are about something else have fake timers, and let no time pass.
test('servers start, answer and end under fake timers', async () => {
  vi.useFakeTimers();
  const servers = [
    { id: 'first', runtime: child(answers) },
    { id: 'second', runtime: child(answers) },
    { id: 'inside', runtime: { type: 'in-process' as const, server: () => createReferenceServer() } },
    { id: 'dies', runtime: child(dies) },
  ];
  await using gateway = createGateway({ servers });
  const open = async (id: string) => {
    const transport = gateway.connect(id);
    const ended = new Promise<void>((resolve) => {
      transport.onclose = resolve;
    });
    const answer = new Promise<JSONRPCMessage>((resolve) => {
      transport.onmessage = resolve;
    });
    await transport.start();
    await transport.send({ jsonrpc: '2.0', id: 1, method: 'ping' });
    return { transport, ended, answer: await answer };
  };
  for (const id of ['first', 'second', 'inside']) {
    const { transport, ended, answer } = await open(id);
    expect(answer).toMatchObject({ id: 1, result: {} });
    await transport.close();
    await ended;
  }
  const { ended, answer } = await open('dies');
  expect(answer).toMatchObject({ id: 1, error: { data: { code: 'SERVER_EXITED' } } });
  await ended;
});
