import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Client as ClientV2 } from '@modelcontextprotocol/client';
import type { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createGateway, type Gateway } from '../../src/index.js';
import { livingWithTag } from '../support/processes.js';
import { createOfficialServers, type OfficialServers, officialIds } from './official-servers.js';
import type { Json } from './scripted-server.js';
import { ScriptedServer } from './scripted-server.js';
import { SdkPeer, sdks } from './sdk-clients.js';

const updated = 'notifications/resources/updated';
const graph = 'memory://knowledge-graph';
const text = (number: number) => `demo://resource/dynamic/text/${number}`;

const allProgress = (total: number) => Array.from({ length: total }, (_, index) => ({ progress: index + 1, total }));

let official: OfficialServers;
let gateway: Gateway;

beforeAll(async () => {
  official = await createOfficialServers();
  gateway = createGateway({ servers: official.entries });
});

afterAll(async () => {
  await gateway.close({ graceMs: 0 });
  const left = livingWithTag(official.tag);
  await official[Symbol.asyncDispose]();
  expect(left).toEqual([]);
});

/** All lists of a peer, as its SDK shows them. */
async function lists({ client }: SdkPeer, has: (what: 'tools' | 'prompts' | 'resources') => boolean = () => true) {
  return {
    tools: has('tools') ? (await client.listTools()).tools : [],
    prompts: has('prompts') ? (await client.listPrompts()).prompts : [],
    resources: has('resources') ? (await client.listResources()).resources : [],
    resourceTemplates: has('resources') ? (await client.listResourceTemplates()).resourceTemplates : [],
  };
}

describe.each(sdks)('the official servers behind one endpoint, for a client of SDK %s', (sdk) => {
  let peer: SdkPeer;

  beforeAll(async () => {
    peer = await SdkPeer.open(sdk, gateway.connect());
  });

  afterAll(async () => {
    await peer.close();
    expect(peer.strays()).toEqual([]);
  });

  test('all lists hold what each server lists by itself, under names that say where it is from', async () => {
    const expected: Record<keyof Awaited<ReturnType<typeof lists>>, unknown[]> = {
      tools: [],
      prompts: [],
      resources: [],
      resourceTemplates: [],
    };
    for (const { id, env, runtime } of official.entries) {
      await using direct = await SdkPeer.open(sdk, new StdioClientTransport({ ...runtime, env, stderr: 'ignore' }));
      const capabilities = direct.client.getServerCapabilities();
      const own = await lists(direct, (what) => capabilities?.[what] !== undefined);
      expect(own.tools.length, id).toBeGreaterThan(0);
      expected.tools.push(...own.tools.map((tool) => ({ ...tool, name: `${id}__${tool.name}` })));
      expected.prompts.push(...own.prompts.map((prompt) => ({ ...prompt, name: `${id}__${prompt.name}` })));
      expected.resources.push(...own.resources);
      expected.resourceTemplates.push(...own.resourceTemplates);
    }
    const merged = await lists(peer);
    expect(merged).toEqual(expected);
    // Some servers offer these only to who has declared to answer.
    expect(merged.tools.map(({ name }) => name)).toEqual(
      expect.arrayContaining([
        'everything__trigger-sampling-request',
        'everything__trigger-elicitation-request',
        'everything__trigger-url-elicitation',
        'everything__get-roots-list',
      ]),
    );
    expect(gateway.status('everything').instances).toHaveLength(1);
  });

  test('a tool of each server answers', async () => {
    expect(await peer.text('everything__get-sum', { a: 2, b: 40 })).toContain('42');
    const path = join(official.folder, 'hello.txt');
    expect(await peer.text('filesystem__read_text_file', { path })).toContain('hello from a file');
    const entities = [{ name: `someone ${sdk}`, entityType: 'person', observations: ['is here'] }];
    await peer.call('memory__create_entities', { entities });
    expect((await peer.call('memory__search_nodes', { query: sdk })).structuredContent).toMatchObject({ entities });
    const thought = { thought: 'why', thoughtNumber: 1, totalThoughts: 2, nextThoughtNeeded: true };
    expect((await peer.call('thinking__sequentialthinking', thought)).structuredContent).toMatchObject({
      thoughtNumber: 1,
      nextThoughtNeeded: true,
    });
  });

  test('errors of servers come as they are, of tools and of the protocol', async () => {
    const failed = await peer.call('filesystem__read_text_file', { path: '/no/such/file' });
    expect(failed).toMatchObject({ isError: true });
    await expect(peer.client.getPrompt({ name: 'everything__args-prompt', arguments: {} })).rejects.toMatchObject({
      code: -32602,
    });
    const unknown = await peer.call('everything__no-such-tool');
    expect(unknown).toMatchObject({ isError: true, content: [{ text: expect.stringContaining(' no-such-tool ') }] });
    await expect(peer.call('no-such-server__tool')).rejects.toMatchObject({ code: -32602 });
  });

  test('prompts, resources and those of templates are read', async () => {
    const prompt = await peer.client.getPrompt({ name: 'everything__args-prompt', arguments: { city: 'Oslo' } });
    expect(JSON.stringify(prompt.messages)).toContain("What's weather in Oslo?");
    const { contents } = await peer.client.readResource({ uri: text(7) });
    expect(contents).toMatchObject([{ uri: text(7), text: expect.stringContaining('Resource 7') }]);
    expect((await peer.client.readResource({ uri: graph })).contents).toMatchObject([{ uri: graph }]);
    await expect(peer.client.readResource({ uri: 'nobody://here' })).rejects.toMatchObject({
      // The later SDK gives it the number of the later revision.
      code: sdk === 'v1' ? -32002 : -32602,
    });
  });

  test('completions of prompts and of resource templates', async () => {
    const ref = { type: 'ref/prompt', name: 'everything__completable-prompt' } as const;
    const departments = await peer.client.complete({ ref, argument: { name: 'department', value: 'S' } });
    expect(departments.completion.values).toEqual(['Sales', 'Support']);
    const context = { arguments: { department: 'Sales' } };
    const people = await peer.client.complete({ ref, argument: { name: 'name', value: '' }, context });
    expect(people.completion.values).toEqual(['David', 'Eve', 'Frank']);
    const template = { type: 'ref/resource', uri: 'demo://resource/dynamic/text/{resourceId}' } as const;
    const numbers = await peer.client.complete({ ref: template, argument: { name: 'resourceId', value: '7' } });
    expect(numbers.completion.values).toEqual(['7']);
  });

  test('updates of resources come while there is a subscription', async () => {
    const add = (observation: string) =>
      peer.call('memory__create_entities', {
        entities: [{ name: `${observation} ${sdk}`, entityType: 'note', observations: [] }],
      });
    const before = peer.heard(updated).length;
    await peer.client.subscribeResource({ uri: graph });
    await add('first');
    await peer.until(() => peer.heard(updated)[before]);
    await peer.client.unsubscribeResource({ uri: graph });
    await add('second');
    await peer.client.subscribeResource({ uri: graph });
    await add('third');
    await peer.until(() => peer.heard(updated)[before + 1]);
    await peer.client.unsubscribeResource({ uri: graph });
    expect(peer.heard(updated).slice(before)).toEqual([{ uri: graph }, { uri: graph }]);
  });

  test('a server says of what happens what the level of the caller lets through', async () => {
    const said = () => peer.heard('notifications/message').map(({ data }) => String(data));
    await peer.client.setLoggingLevel('error');
    await peer.client.subscribeResource({ uri: text(101) });
    await peer.client.setLoggingLevel('info');
    await peer.client.subscribeResource({ uri: text(102) });
    await peer.until(() => said().find((line) => line.includes(text(102))));
    expect(said().filter((line) => line.includes(text(101)))).toEqual([]);
    for (const number of [101, 102]) {
      await peer.client.unsubscribeResource({ uri: text(number) });
    }
  });

  test('progress comes to its call', async () => {
    const before = peer.progress.size;
    const steps = 3;
    const name = 'everything__trigger-long-running-operation';
    await peer.call(name, { duration: 0.03, steps }, { onprogress: () => {} });
    expect([...peer.progress.values()].slice(before)).toEqual([allProgress(steps)]);
    // The SDK passes on what does not come in one piece with the answer.
    const first = new AbortController();
    const call = peer.call(
      name,
      { duration: 2, steps: 100 },
      {
        onprogress: ({ progress, total }) => first.abort(new Error(`${progress} of ${total}`)),
        signal: first.signal,
      },
    );
    await expect(call).rejects.toThrow(/\b\d+ of 100$/);
  });

  test('a cancelled call ends at once, and nothing of it comes any more', async () => {
    const controller = new AbortController();
    const name = 'everything__trigger-long-running-operation';
    const cancelled = peer.call(
      name,
      { duration: 4, steps: 200 },
      { onprogress: () => controller.abort(new Error('enough')), signal: controller.signal },
    );
    await expect(cancelled).rejects.toThrow('enough');
    expect(gateway.status('everything').inFlight).toBe(0);
    // This server goes on telling of it all the same; while this call runs it does so some ten times.
    await peer.call(name, { duration: 0.2, steps: 1 });
    expect(peer.strays()).toEqual([]);
  });

  test('sampling: the server asks in the middle of a call, and gets the answer', async () => {
    const asked: Json[] = [];
    peer.answers.sampling = (params) => {
      asked.push(params);
      return { role: 'assistant', model: 'mine', content: { type: 'text', text: `to ${sdk}` } };
    };
    const answer = await peer.text('everything__trigger-sampling-request', { prompt: 'who?', maxTokens: 5 });
    expect(asked).toMatchObject([{ maxTokens: 5, messages: [{ content: { text: expect.stringContaining('who?') } }] }]);
    expect(answer).toContain(`to ${sdk}`);
  });

  test('elicitation by form and by URL, and the error that asks for it', async () => {
    const asked: Json[] = [];
    peer.answers.elicitation = (params) => {
      asked.push(params);
      return params.mode === 'url' ? { action: 'accept' } : { action: 'accept', content: { name: `me of ${sdk}` } };
    };
    expect(await peer.text('everything__trigger-elicitation-request')).toContain(`- Name: me of ${sdk}`);
    const url = `https://example.com/${sdk}`;
    const name = 'everything__trigger-url-elicitation';
    expect(await peer.text(name, { url, elicitationId: 'e1' })).toContain('User completed');
    expect(asked).toMatchObject([
      { requestedSchema: { required: ['name'] } },
      { mode: 'url', url, elicitationId: 'e1' },
    ]);
    const needed = peer.call(name, { url, elicitationId: 'e2', errorPath: true });
    await expect(needed).rejects.toMatchObject({
      code: -32042,
      data: { elicitations: [{ mode: 'url', url: 'https://modelcontextprotocol.io' }] },
    });
  });

  test('roots: servers ask for them, and again when they have changed', async () => {
    const uri = pathToFileURL(official.rootFolder).href;
    peer.answers.roots = () => [{ uri, name: `root of ${sdk}` }];
    const said = () =>
      peer.heard('notifications/message').filter(({ data }) => String(data).startsWith('Roots updated: 1'));
    const before = said().length;
    // This server starts to listen for changes once it has asked for the first time.
    await peer.call('everything__get-roots-list');
    await peer.client.sendRootsListChanged();
    await peer.until(() => said()[before]);
    expect(await peer.text('everything__get-roots-list')).toContain(`root of ${sdk}`);
    const path = join(official.rootFolder, 'root.txt');
    let content: string;
    do {
      // It asks too, but does not tell when it has the answer.
      content = await peer.text('filesystem__read_text_file', { path });
    } while (content.includes('Access denied'));
    expect(content).toContain('hello from a root');
  });

  test('a resource that appears is announced, listed and read', async () => {
    const changed = 'notifications/resources/list_changed';
    const before = peer.heard(changed).length;
    const name = `${sdk}.gz`;
    const { content } = await peer.call('everything__gzip-file-as-resource', {
      name,
      data: 'data:text/plain,hello',
      outputType: 'resourceLink',
    });
    const uri = `demo://resource/session/${name}`;
    expect(content).toMatchObject([{ type: 'resource_link', uri }]);
    await peer.until(() => peer.heard(changed)[before]);
    expect((await peer.client.listResources()).resources.map((resource) => resource.uri)).toContain(uri);
    expect((await peer.client.readResource({ uri })).contents).toMatchObject([{ uri, mimeType: 'application/gzip' }]);
  });

  test('tools that appear after the handshake are announced', async () => {
    await peer.client.listTools();
    await peer.until(() => peer.heard('notifications/tools/list_changed')[0]);
  });

  test('a client that leaves takes its processes with it, and the endpoint works for the next', async () => {
    const before = new Set(livingWithTag(official.tag));
    await using next = await SdkPeer.open(sdk, gateway.connect({ servers: ['thinking'] }));
    await next.client.listTools();
    const own = livingWithTag(official.tag).filter((pid) => !before.has(pid));
    expect(own).toHaveLength(1);
    await next.close();
    expect(livingWithTag(official.tag).filter((pid) => own.includes(pid))).toEqual([]);
    expect(await peer.text('everything__echo', { message: 'still here' })).toContain('still here');
  });
});

test('a task of a server, which asks in the middle of it, for a client of SDK v1', async () => {
  const options = { servers: ['everything'], caller: { id: 'with tasks' } };
  // A server is only known to run tasks when this caller has asked it before, for all that it has.
  await using first = await SdkPeer.open('v1', gateway.connect(options));
  await lists(first);
  await first.close();

  await using peer = await SdkPeer.open('v1', gateway.connect(options));
  expect(peer.client.getServerCapabilities()).toMatchObject({ tasks: { requests: { tools: { call: {} } } } });
  peer.answers.elicitation = () => ({ action: 'accept', content: { interpretation: 'snake' } });
  const name = 'everything__simulate-research-query';
  expect((await peer.client.listTools()).tools.map((tool) => tool.name)).toContain(name);
  const { tasks } = (peer.client as ClientV1).experimental;
  const seen: string[] = [];
  for await (const message of tasks.callToolStream({ name, arguments: { topic: 'python', ambiguous: true } })) {
    seen.push(message.type);
    if (message.type === 'result') {
      expect(JSON.stringify(message.result)).toContain('python (snake)');
    }
  }
  expect(seen[0]).toBe('taskCreated');
  expect(seen.at(-1)).toBe('result');
  expect((await tasks.listTasks()).tasks).toMatchObject([{ status: 'completed' }]);
  expect(peer.strays()).toEqual([]);
});

describe('a client of SDK v2 that negotiates', () => {
  const info = { name: 'test', version: '1' };

  test('finds the stateless era at the merged peer, and starts nothing for it', async () => {
    await using quiet = createGateway({ servers: official.entries });
    const client = new ClientV2(info, { versionNegotiation: { mode: 'auto' } });
    await client.connect(quiet.connect());
    expect(client.getProtocolEra()).toBe('modern');
    expect(client.getNegotiatedProtocolVersion()).toBe('2026-07-28');
    expect(officialIds.map((id) => quiet.status(id).phase)).toEqual(officialIds.map(() => 'idle'));
    await client.close();
  });

  test.each(officialIds)('finds the legacy era at connect(%s)', async (id) => {
    const client = new ClientV2(info, { versionNegotiation: { mode: 'auto' } });
    await client.connect(gateway.connect(id));
    expect(client.getProtocolEra()).toBe('legacy');
    expect((await client.listTools()).tools.length).toBeGreaterThan(0);
    await client.close();
  });
});

describe.each(sdks)('long lists, for a client of SDK %s', (sdk) => {
  const pageSize = 400;
  const tools = Array.from({ length: 1_200 }, (_, index) => ({ name: `t${index}`, inputSchema: { type: 'object' } }));
  const paged = () =>
    new ScriptedServer({
      capabilities: { tools: {} },
      on: {
        'tools/list': ({ params }) => {
          const start = Number(params?.cursor ?? 0);
          const end = start + pageSize;
          return { tools: tools.slice(start, end), ...(end < tools.length && { nextCursor: String(end) }) };
        },
      },
    });

  test('come page by page, from servers that page themselves', async () => {
    await using long = createGateway({
      servers: ['a', 'b'].map((id) => ({ id, runtime: paged().runtime })),
    });
    await using peer = await SdkPeer.open(sdk, long.connect());
    const names: string[] = [];
    const sizes: number[] = [];
    let cursor: string | undefined;
    do {
      // SDK v2 gathers all pages itself unless it is given a cursor.
      const page: { tools: { name: string }[]; nextCursor?: string | undefined } = await peer.client.listTools(
        cursor === undefined ? undefined : { cursor },
      );
      names.push(...page.tools.map(({ name }) => name));
      sizes.push(page.tools.length);
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    expect(names).toEqual(['a', 'b'].flatMap((id) => tools.map(({ name }) => `${id}__${name}`)));
    expect(sizes).toEqual(sdk === 'v1' ? [1_000, 1_000, 400] : [2_400]);
  });
});

describe.each(['caller', 'shared'] as const)('two clients at once, isolation: %s', (isolation) => {
  let both: Gateway;
  let a: SdkPeer;
  let b: SdkPeer;

  beforeAll(async () => {
    both = createGateway({ servers: official.entries.map((entry) => ({ ...entry, isolation })) });
    const servers = ['everything', 'memory'];
    [a, b] = await Promise.all([
      SdkPeer.open('v1', both.connect({ servers })),
      SdkPeer.open('v2', both.connect({ servers })),
    ]);
    await Promise.all([lists(a), lists(b)]);
  });

  afterAll(async () => {
    // Else what came to the wrong one would not have been seen.
    await Promise.all([a.client.ping(), b.client.ping()]);
    await both.close({ graceMs: 0 });
    expect([...a.strays(), ...b.strays()]).toEqual([]);
  });

  test('run on the processes that the isolation says', () => {
    const count = isolation === 'shared' ? 1 : 2;
    expect(both.status('everything').instances).toHaveLength(count);
    expect(both.status('memory').instances).toHaveLength(count);
  });

  test('each hears of the progress of its own calls, under equal tokens', async () => {
    const run = async (peer: SdkPeer, steps: number) => {
      const before = peer.progress.size;
      const name = 'everything__trigger-long-running-operation';
      const calls = Array.from({ length: 5 }, () =>
        peer.call(name, { duration: 0.01 * steps, steps }, { onprogress: () => {} }),
      );
      await Promise.all(calls);
      expect([...peer.progress.values()].slice(before)).toEqual(Array(5).fill(allProgress(steps)));
      return [...peer.progress.keys()].slice(before);
    };
    const tokens = await Promise.all([run(a, 3), run(b, 7)]);
    // Else nothing could be mixed up.
    expect(tokens[0]?.some((token) => tokens[1]?.includes(token))).toBe(true);
    expect([...a.strays(), ...b.strays()]).toEqual([]);
  });

  test('each hears of updates of what it has subscribed to', async () => {
    await a.client.subscribeResource({ uri: text(1) });
    await b.client.subscribeResource({ uri: text(2) });
    const toggle = 'everything__toggle-subscriber-updates';
    // Where they share the process, one switch is for both.
    await Promise.all((isolation === 'shared' ? [a] : [a, b]).map((peer) => peer.call(toggle)));
    await Promise.all([a, b].map((peer) => peer.until(() => peer.heard(updated)[0])));
    await Promise.all((isolation === 'shared' ? [a] : [a, b]).map((peer) => peer.call(toggle)));
    const own = (peer: SdkPeer) => [...new Set(peer.heard(updated).map(({ uri }) => uri))];
    expect(own(a)).toEqual([text(1)]);
    expect(own(b)).toEqual([text(2)]);
  });

  test('what one does to its server the other hears only where they share it', async () => {
    const known = [a, b].map((peer) => peer.heard(updated).length);
    await a.client.subscribeResource({ uri: graph });
    await b.client.subscribeResource({ uri: graph });
    const add = (peer: SdkPeer, name: string) =>
      peer.call('memory__create_entities', { entities: [{ name, entityType: 'note', observations: [] }] });
    await add(a, 'of a');
    await a.until(() => a.heard(updated)[known[0] as number]);
    await add(b, 'of b');
    const times = isolation === 'shared' ? 2 : 1;
    const heard = await Promise.all(
      [a, b].map(async (peer, index) => {
        const from = known[index] as number;
        await peer.until(() => peer.heard(updated)[from + times - 1]);
        return peer.heard(updated).slice(from);
      }),
    );
    expect(heard).toEqual([Array(times).fill({ uri: graph }), Array(times).fill({ uri: graph })]);
  });

  test('what a server says in a log reaches the caller of its own process, and nobody where it is shared', async () => {
    const said = (peer: SdkPeer) => peer.heard('notifications/message').map(({ data }) => String(data));
    await a.client.subscribeResource({ uri: text(11) });
    await b.client.subscribeResource({ uri: text(12) });
    await Promise.all([a.client.ping(), b.client.ping()]);
    const lines = [a, b].map((peer) => said(peer).filter((line) => /text\/1[12]/.test(line)));
    expect(lines).toEqual(
      isolation === 'shared' ? [[], []] : [[expect.stringContaining(text(11))], [expect.stringContaining(text(12))]],
    );
  });

  test('each is asked what its own calls lead to, and is not asked at all where they share', async () => {
    const names = (await a.client.listTools()).tools.map(({ name }) => name);
    const tool = 'everything__trigger-sampling-request';
    expect(names.includes(tool)).toBe(isolation === 'caller');
    if (isolation === 'shared') {
      return;
    }
    const answers = await Promise.all(
      [a, b].map(async (peer, index) => {
        const asked: string[] = [];
        peer.answers.sampling = (params) => {
          asked.push(JSON.stringify(params.messages));
          return { role: 'assistant', model: 'm', content: { type: 'text', text: `answer of ${index}` } };
        };
        const calls = [1, 2, 3].map((number) => peer.text(tool, { prompt: `question ${index}.${number}` }));
        return { asked, texts: await Promise.all(calls) };
      }),
    );
    for (const [index, { asked, texts }] of answers.entries()) {
      expect(asked).toHaveLength(3);
      expect(asked.filter((line) => line.includes(`question ${index}.`))).toHaveLength(3);
      expect(texts.filter((line) => line.includes(`answer of ${index}`))).toHaveLength(3);
    }
  });
});
