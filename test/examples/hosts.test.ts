import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { Client as ClientV2, StreamableHTTPClientTransport as HttpV2 } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { describe, expect, test } from 'vitest';
import { answerTo, begin, initialize, open, send } from '../hosts/raw-client.js';
import { startHost } from './start-host.js';

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const frameworks = ['node-http', 'express', 'fastify', 'hono'];

const requestInit = (who: string) => ({ requestInit: { headers: { authorization: `Bearer token of ${who}` } } });

async function connectV1(url: string, who: string) {
  const client = new Client({ name: 'test', version: '1' });
  const transport = new StreamableHTTPClientTransport(new URL(url), requestInit(who));
  await client.connect(transport);
  return { client, transport };
}

const names = ['node-http-v1', ...frameworks.flatMap((name) => [name, `${name}-v2`])];

describe.each(names)('docs/examples/hosts/%s.ts', (name) => {
  test('serves clients of both SDKs, each its own session, refuses others, and ends in order', async () => {
    await using host = await startHost(name);
    const { url } = host;
    const authorization = 'Bearer token of ada';

    const [ada, bob] = await Promise.all([connectV1(url, 'ada'), connectV1(url, 'bob')]);
    const v2 = new ClientV2({ name: 'test', version: '1' });
    await v2.connect(new HttpV2(new URL(url), requestInit('ada')));
    const listed = await Promise.all([ada.client, bob.client, v2].map((client) => client.listTools()));
    for (const { tools } of listed) {
      expect(tools.map((tool) => tool.name).sort()).toEqual(
        ['fast', 'late'].flatMap((server) => ['crash', 'echo', 'slow'].map((tool) => `${server}__${tool}`)),
      );
    }
    const answers = await Promise.all(
      [ada.client, bob.client, v2].map((client, index) =>
        client.callTool({ name: 'late__echo', arguments: { text: `call ${index}` } }),
      ),
    );
    expect(answers.map(({ content }) => content)).toEqual(
      [0, 1, 2].map((index) => [{ type: 'text', text: JSON.stringify({ text: `call ${index}` }) }]),
    );

    // Both ways: a body parser with its usual limit would refuse the request.
    const large = 'x'.repeat(1024 * 1024);
    expect(await ada.client.callTool({ name: 'fast__echo', arguments: { text: large } })).toEqual({
      content: [{ type: 'text', text: JSON.stringify({ text: large }) }],
    });

    const id = ada.transport.sessionId ?? '';
    const ping = { jsonrpc: '2.0', id: 9, method: 'ping' };
    expect(await send(url, initialize)).toMatchObject({ status: 401, reason: 'unauthenticated' });
    expect(await send(url, ping, { authorization: 'Bearer token of bob', 'mcp-session-id': id })).toMatchObject({
      status: 404,
      reason: 'session-unknown',
    });
    expect(await send(url, initialize, { authorization, host: 'evil.example.com' })).toMatchObject({ reason: 'host' });
    expect(await send(url, initialize, { authorization, origin: 'http://evil.example.com' })).toMatchObject({
      status: 403,
      reason: 'origin',
    });
    const huge = open(url, 'POST', { authorization, 'mcp-session-id': id, 'content-length': 100_000_000 });
    const refused = answerTo(huge);
    huge.write('{');
    expect(await refused).toMatchObject({ status: 413, reason: 'body-too-large' });
    huge.destroy();

    await bob.transport.terminateSession();
    expect(
      await send(url, ping, {
        authorization: 'Bearer token of bob',
        'mcp-session-id': bob.transport.sessionId ?? 'gone',
      }),
    ).toMatchObject({ status: 404 });

    const slow = ada.client.callTool({ name: 'fast__slow', arguments: { ms: 1_000 } });
    const answered = await begin(url, { authorization });
    expect(answered).not.toBe(id);
    // The host, what was sent before by three clients to two servers each, and whatever watches them.
    expect(host.processes().length).toBeGreaterThan(2);
    const ended = host.stop();
    expect(await slow).toMatchObject({ content: [{ text: 'waited 1000 ms' }] });
    expect({ code: await ended, stderr: host.stderr() }).toEqual({ code: 0, stderr: '' });
    expect(host.processes()).toEqual([]);
    await Promise.allSettled([ada.client.close(), bob.client.close(), v2.close()]);
  });
});

test.concurrent.each(frameworks)('%s gives up a client that sends the head of its request in drops', async (name) => {
  await using host = await startHost(name);
  const { port } = new URL(host.url);
  const socket = connect(Number(port), '127.0.0.1');
  socket.on('error', () => {});
  socket.write(`POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n`);
  const drops = setInterval(() => socket.writable && socket.write('X-Drop: 1\r\n'), 1_000);
  const [answer] = await once(socket.setEncoding('latin1'), 'data');
  clearInterval(drops);
  socket.destroy();
  expect(answer).toMatch(/^HTTP\/1\.1 408 /);
  expect(await send(host.url, initialize)).toMatchObject({ status: 401 });
});

test.each(frameworks)('%s differs between the SDKs by its transport alone', async (name) => {
  const [v1 = '', v2 = ''] = await Promise.all(
    [name === 'node-http' ? 'node-http-v1' : name, `${name}-v2`].map((file) =>
      readFile(path(`../../docs/examples/hosts/${file}.ts`), 'utf8'),
    ),
  );
  const plain = (text: string) =>
    text
      .replace(/import \{ (\w*)StreamableHTTPServerTransport \} from '.*';\n/, '')
      .replace(/new \w*StreamableHTTP/, 'new StreamableHTTP')
      .replaceAll(/-v\d/g, '');
  expect(plain(v2)).toBe(plain(v1));
});
