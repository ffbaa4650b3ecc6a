import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client as ClientV2 } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { describe, expect, test } from 'vitest';
import { createGateway, GatewayError } from '../../src/index.js';
import { createReferenceServer, referenceServerPath } from '../../src/testing/index.js';
import { createTag, livingWithTag, tagVariable } from '../support/processes.js';

const everything = join(
  dirname(fileURLToPath(import.meta.resolve('@modelcontextprotocol/server-everything/package.json'))),
  'dist/index.js',
);
const info = { name: 'test', version: '1' };

function setUp() {
  const tag = createTag();
  const env = { [tagVariable]: tag };
  const program = (...args: string[]) => ({ type: 'local-process' as const, command: process.execPath, args });
  const gateway = createGateway({
    servers: [
      { id: 'reference', env, runtime: program(referenceServerPath()) },
      { id: 'everything', env, runtime: program(everything, 'stdio') },
      { id: 'mine', runtime: { type: 'in-process', server: () => createReferenceServer() } },
    ],
  });
  return { gateway, tag };
}

describe.each(['reference', 'everything', 'mine'])('%s', (id) => {
  const call = { name: 'echo', arguments: id === 'everything' ? { message: 'hello' } : { text: 'hello' } };

  test('answers a client of SDK v1', async () => {
    const { gateway, tag } = setUp();
    const client = new Client(info);
    await client.connect(gateway.connect(id));
    expect((await client.listTools()).tools.map(({ name }) => name)).toContain('echo');
    expect(JSON.stringify((await client.callTool(call)).content)).toContain('hello');
    await client.close();
    expect(livingWithTag(tag)).toEqual([]);
    await gateway.close();
  });

  test.each(['auto', 'legacy'] as const)('answers a client of SDK v2 (%s)', async (mode) => {
    const { gateway, tag } = setUp();
    const client = new ClientV2(info, { versionNegotiation: { mode } });
    await client.connect(gateway.connect(id));
    expect(client.getProtocolEra()).toBe('legacy');
    expect((await client.listTools()).tools.map(({ name }) => name)).toContain('echo');
    expect(JSON.stringify((await client.callTool(call)).content)).toContain('hello');
    await client.close();
    expect(livingWithTag(tag)).toEqual([]);
    await gateway.close();
  });
});

test.each([
  ['v1', () => new Client(info)],
  ['v2', () => new ClientV2(info)],
])('a client of SDK %s connects again after a start that failed, and after a crash', async (_name, create) => {
  let broken = true;
  const gateway = createGateway({
    servers: [
      {
        id: 'a',
        restart: { backoff: '0' },
        runtime: {
          type: 'in-process',
          server: () => {
            if (broken) throw new Error('no such database');
            return createReferenceServer();
          },
        },
      },
      {
        id: 'b',
        restart: { backoff: '0' },
        runtime: { type: 'local-process', command: process.execPath, args: [referenceServerPath()] },
      },
    ],
  });
  const client = create();
  const failure: unknown = await client.connect(gateway.connect('a')).catch((error: unknown) => error);
  expect(GatewayError.is(failure) && failure.code).toBe('START_FAILED');
  broken = false;
  await client.connect(gateway.connect('a'));
  expect((await client.listTools()).tools.length).toBeGreaterThan(0);
  await client.close();

  await client.connect(gateway.connect('b'));
  const crash: unknown = await client
    .callTool({ name: 'crash', arguments: { code: 4 } })
    .catch((error: unknown) => error);
  expect(crash).toMatchObject({ code: 1201, data: { code: 'SERVER_EXITED', server: 'b', exit: { code: 4 } } });
  await new Promise<void>((resolve) => {
    client.onclose = resolve;
    if (client.transport === undefined) resolve();
  });
  await client.connect(gateway.connect('b'));
  expect((await client.listTools()).tools.length).toBeGreaterThan(0);
  await gateway.close();
});
