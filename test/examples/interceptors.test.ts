import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { expect, test } from 'vitest';
import {
  audit,
  chain,
  limitCalls,
  onlyTeam,
  withConsent,
  withoutCardNumbers,
} from '../../docs/examples/interceptors.js';
import { type Caller, createGateway, type Interceptor } from '../../src/index.js';
import { runExample } from './run-example.js';

function createShop(): McpServer {
  const server = new McpServer({ name: 'shop', version: '1' });
  server.registerTool('card', {}, () => ({ content: [{ type: 'text', text: 'paid with 4111111111111111' }] }));
  server.registerTool('slow', {}, ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', reject)));
  return server;
}

async function connect(intercept: Interceptor, caller: Caller = {}) {
  const gateway = createGateway(
    { servers: [{ id: 'shop', runtime: { type: 'in-process', server: createShop } }] },
    { intercept },
  );
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(gateway.connect({ caller }));
  return { client, [Symbol.asyncDispose]: () => gateway.close({ graceMs: 0 }) };
}

test('only a team may call', async () => {
  const intercept = onlyTeam('shop', 'sales');
  await using outsider = await connect(intercept);
  await expect(outsider.client.callTool({ name: 'shop__card' })).rejects.toMatchObject({ code: 4003 });
  await using member = await connect(intercept, { data: { teams: ['sales'] } });
  expect(await member.client.callTool({ name: 'shop__card' })).toHaveProperty('content');
});

test('an audit line for each request', async () => {
  const lines: string[] = [];
  const write = (line: string) => lines.push(line);
  await using session = await connect(chain(audit(write), onlyTeam('shop', 'sales')), { principal: 'ada' });
  await session.client.listTools();
  await session.client.callTool({ name: 'shop__card' }).catch(() => {});
  expect(lines).toEqual(['ada shop tools/list ok', 'ada shop tools/call card refused']);
});

test('so many calls at once, and a cancelled call makes room', async () => {
  const started = Promise.withResolvers<void>();
  const left = Promise.withResolvers<void>();
  const watch: Interceptor = (request, next) => {
    if (request.params.name !== 'slow') {
      return next();
    }
    started.resolve();
    return next().finally(left.resolve);
  };
  await using session = await connect(chain(limitCalls(1), watch));
  const abort = new AbortController();
  const slow = session.client.callTool({ name: 'shop__slow' }, undefined, { signal: abort.signal });
  await started.promise;
  await expect(session.client.callTool({ name: 'shop__card' })).rejects.toMatchObject({ code: 4290 });
  abort.abort('enough');
  await expect(slow).rejects.toThrow('enough');
  await left.promise;
  expect(await session.client.callTool({ name: 'shop__card' })).toHaveProperty('content');
});

test('a person is asked, and asked no more when the caller has cancelled', async () => {
  const answers = [true, false];
  const asked: string[] = [];
  const hears = Promise.withResolvers<AbortSignal>();
  const ask = (question: string, signal: AbortSignal) => {
    asked.push(question);
    const answer = answers.shift();
    answer === undefined && hears.resolve(signal);
    return answer === undefined ? new Promise<never>(() => {}) : Promise.resolve(answer);
  };
  await using session = await connect(chain(withConsent(ask)), { principal: 'ada' });
  expect(await session.client.callTool({ name: 'shop__card' })).toHaveProperty('content');
  await expect(session.client.callTool({ name: 'shop__card' })).rejects.toMatchObject({ code: 4031 });
  const abort = new AbortController();
  const call = session.client.callTool({ name: 'shop__card' }, undefined, { signal: abort.signal });
  const signal = await hears.promise;
  const told = new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  abort.abort('enough');
  await expect(call).rejects.toThrow('enough');
  await told;
  expect(signal.reason).toMatchObject({ code: 'REQUEST_CANCELLED' });
  expect(asked).toEqual(Array(3).fill('ada wants shop to card'));
});

test('card numbers are taken out of results', async () => {
  await using session = await connect(withoutCardNumbers);
  expect(await session.client.callTool({ name: 'shop__card' })).toMatchObject({
    content: [{ text: 'paid with [card number]' }],
  });
});

test('the example of the merged peer', async () => {
  expect(await runExample('merged.ts')).toEqual({
    code: 0,
    stdout: "[ 'everything', 'memory' ] everything__echo [ { type: 'text', text: 'Echo: hello' } ]\n",
    stderr: '',
  });
});
