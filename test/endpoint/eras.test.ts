import { fileURLToPath } from 'node:url';
import type { Client as ClientV2 } from '@modelcontextprotocol/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createGateway, type Gateway } from '../../src/index.js';
import { listenToEra } from '../fixtures/eras/http.js';
import { clientKinds, EraPeer } from './era-peer.js';

const stdio = fileURLToPath(new URL('../fixtures/eras/stdio.ts', import.meta.url));
const eras = ['legacy', 'modern'] as const;
const runtimes = ['local-process', 'remote-sse'] as const;
const watched = 'fixture://watched';

const cases = clientKinds.flatMap((client) =>
  eras.flatMap((era) => runtimes.map((runtime) => ({ client, era, runtime }))),
);
// The merged peer shows qualified names, a connection to one server the server's own.
const ways = [
  { way: 'connect()', prefix: 'one__' },
  { way: 'connect(id, { era })', prefix: '' },
] as const;
const all = ways.flatMap((way) => cases.map((each) => ({ ...way, ...each })));

const title = '$way: a client of $client and a server of the $era era over $runtime';

describe.each(all)(title, ({ client, era, runtime, prefix }) => {
  const modernClient = client === 'v2 modern';
  const named = (name: string) => prefix + name;
  let gateway: Gateway;
  let host: Awaited<ReturnType<typeof listenToEra>> | undefined;
  let peer: EraPeer;

  beforeAll(async () => {
    host = runtime === 'remote-sse' ? await listenToEra(era) : undefined;
    gateway = createGateway({
      servers: [
        {
          id: 'one',
          runtime:
            host === undefined
              ? { type: 'local-process', command: process.execPath, args: [stdio, era] }
              : { type: 'remote-sse', url: host.url },
        },
      ],
    });
    const callerEra = modernClient ? 'modern' : 'legacy';
    peer = await EraPeer.open(client, prefix === '' ? gateway.connect('one', { era: callerEra }) : gateway.connect());
  });

  afterAll(async () => {
    await peer?.close();
    await gateway.close({ graceMs: 0 });
    await host?.[Symbol.asyncDispose]();
  });

  test('lists', async () => {
    const { tools } = await peer.client.listTools();
    expect(tools.map(({ name }) => name)).toContain(named('echo'));
    expect(tools).toHaveLength(13);
    expect((await peer.client.listPrompts()).prompts).toMatchObject([{ name: named('greet') }]);
    expect((await peer.client.listResources()).resources).toHaveLength(2);
    expect(gateway.status('one').instances).toHaveLength(1);
  });

  test('calls, gets, reads and completes', async () => {
    expect(await peer.text(named('echo'), { text: 'hello' })).toBe('hello');
    const { messages } = await peer.client.getPrompt({ name: named('greet'), arguments: { name: 'Ada' } });
    expect(messages).toMatchObject([{ content: { text: 'Hello Ada' } }]);
    const { contents } = await peer.client.readResource({ uri: 'fixture://text' });
    expect(contents).toEqual([{ uri: 'fixture://text', text: 'the text of fixture://text' }]);
    const ref = { type: 'ref/prompt' as const, name: named('greet') };
    const { completion } = await peer.client.complete({ ref, argument: { name: 'name', value: 'A' } });
    expect(completion.values).toEqual(['A!']);
  });

  test('is told of what is not there', async () => {
    await expect(peer.text(named('nothing'))).rejects.toMatchObject({ code: -32602 });
    const reading = peer.client.readResource({ uri: 'nobody://here' });
    // A server alone says it itself, in the words of its own era; v2 reads the merged peer's -32002 as -32602.
    const merged = client === 'v1' ? -32002 : -32602;
    const own = era === 'legacy' && !modernClient ? -32002 : -32602;
    await expect(reading).rejects.toMatchObject({ code: prefix === '' ? own : merged });
  });

  test('answers what the server asks', async () => {
    expect(await peer.text(named('ask'))).toBe('Hello Ada');
    expect(peer.asked.at(-1)).toMatchObject({
      method: 'elicitation/create',
      params: { message: 'What is your name?' },
    });
    expect(await peer.text(named('interview'))).toBe('Ada is 36');
    expect(await peer.text(named('sample'), { prompt: 'Why?' })).toBe('from the model');
    expect(peer.asked.at(-1)).toMatchObject({ params: { messages: [{ content: { text: 'Why?' } }] } });
    expect(await peer.text(named('roots'))).toBe('file:///home file:///work');
  });

  test('may decline', async () => {
    const { elicit } = peer;
    peer.elicit = () => ({ action: 'decline' });
    expect(await peer.text(named('ask'))).toBe('Hello nobody');
    peer.elicit = elicit;
  });

  test('answers what several calls ask at once', async () => {
    const calls = Array.from({ length: 8 }, () => [peer.text(named('interview')), peer.text(named('ask'))]).flat();
    expect(new Set(await Promise.all(calls))).toEqual(new Set(['Ada is 36', 'Hello Ada']));
  });

  test('shows the server what the client can do', async () => {
    const seen = JSON.parse(await peer.text(named('capabilities')));
    expect(Object.keys(seen).sort()).toEqual(['elicitation', 'roots', 'sampling']);
  });

  test('hears of progress', async () => {
    expect(await peer.steps(named('steps'))).toEqual([1, 2, 3]);
  });

  test('cancels', async () => {
    const before = Number(await peer.text(named('cancelled')));
    const abort = new AbortController();
    const waiting = peer.text(named('wait'), {}, { signal: abort.signal });
    for (let count = '0'; count === '0'; ) count = await peer.text(named('waiting'));
    abort.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    for (let count = before; count === before; ) {
      count = Number(await peer.text(named('cancelled')));
    }
  });

  test('is told that a list has changed', async () => {
    const listening = modernClient ? await (peer.client as ClientV2).listen({ toolsListChanged: true }) : undefined;
    expect(listening?.honoredFilter).toEqual(modernClient ? { toolsListChanged: true } : undefined);
    await peer.text(named('grow'));
    await peer.notification('notifications/tools/list_changed');
    await listening?.close();
  });

  test('is told that a resource has changed', async () => {
    const listening = modernClient
      ? await (peer.client as ClientV2).listen({ resourceSubscriptions: [watched] })
      : undefined;
    expect(listening?.honoredFilter).toEqual(modernClient ? { resourceSubscriptions: [watched] } : undefined);
    listening ?? (await peer.client.subscribeResource({ uri: watched }));
    await peer.text(named('touch'));
    expect((await peer.notification('notifications/resources/updated')).params).toMatchObject({ uri: watched });
    await (listening === undefined ? peer.client.unsubscribeResource({ uri: watched }) : listening.close());
  });

  test('reads the log from the level on that it asked for', async () => {
    const meta = { 'io.modelcontextprotocol/logLevel': 'info' };
    if (!modernClient) {
      await peer.client.setLoggingLevel('info');
    }
    await peer.text(named('log'), {}, modernClient ? { meta } : {});
    await peer.until(() => (peer.heard.some(({ params }) => params?.data === 'of error') ? true : undefined));
    const heard = peer.heard.filter(({ method }) => method === 'notifications/message');
    expect(heard.map(({ params }) => params?.data)).toEqual(['of info', 'of error']);
  });
});
