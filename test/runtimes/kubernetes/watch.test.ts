import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { type Clock, systemClock } from '../../../src/options.js';
import type { Watch } from '../../../src/runtimes/shared/kubernetes/cluster.js';
import { Clusters } from '../../../src/runtimes/shared/kubernetes/clusters.js';
import { type KubernetesObject, pods } from '../../../src/runtimes/shared/kubernetes/resources.js';
import { recordAnySignals } from '../../support/any-signals.js';
import { FakeClock } from '../../support/fake-clock.js';
import { FakeApiServer, sendJson } from '../../support/kubernetes/fake-api-server.js';
import { eventually } from '../../support/kubernetes/namespace.js';

const item = (name: string, resourceVersion: string) => ({ metadata: { name, uid: name, resourceVersion } });
const change = (type: string, object: object) => `${JSON.stringify({ type, object })}\n`;

/** A watch on a fake API server: what it saw, and the answers to its lists and watches. */
class Watched implements AsyncDisposable {
  readonly seen: string[] = [];
  readonly troubles: string[] = [];
  failure: Error | undefined;
  items: readonly KubernetesObject[] = [];
  version = '1';
  readonly streams: ServerResponse[] = [];
  onWatch: (response: ServerResponse, version: string) => void = () => {};
  readonly #clusters: Clusters;
  #watch: Watch | undefined;

  private constructor(
    readonly fake: FakeApiServer,
    clock: Clock,
  ) {
    this.#clusters = new Clusters({ kubeconfig: fake.kubeconfig }, clock);
    fake.answer = ({ url }, response) => {
      const { searchParams } = new URL(url ?? '', fake.url);
      if (!searchParams.has('watch')) {
        sendJson(response, 200, { metadata: { resourceVersion: this.version }, items: this.items });
        return;
      }
      response.writeHead(200).flushHeaders();
      this.streams.push(response);
      this.onWatch(response, searchParams.get('resourceVersion') ?? '');
    };
  }

  static async begin(prepare: (watched: Watched) => void = () => {}, clock: Clock = systemClock): Promise<Watched> {
    const watched = new Watched(await FakeApiServer.listen(), clock);
    prepare(watched);
    const cluster = await watched.#clusters.open();
    watched.#watch = cluster.watch(pods({ namespace: 'home' }), {
      labelSelector: 'a=b',
      changed: (items) => {
        watched.seen.push(
          [...items.values()].map(({ metadata }) => `${metadata.name}${metadata.resourceVersion}`).join(),
        );
      },
      failed: (error) => {
        watched.failure = error;
      },
      trouble: (error) => {
        watched.troubles.push(error.message);
      },
    });
    return watched;
  }

  close(): void {
    this.#watch?.close();
  }

  until(what: string, condition: (watched: Watched) => boolean): Promise<true> {
    return eventually(what, async () => (condition(this) ? true : undefined));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.#clusters.close();
    await this.fake[Symbol.asyncDispose]();
  }
}

test('lists, then follows changes, whose lines may be cut anywhere', async () => {
  await using watched = await Watched.begin((made) => {
    made.items = [item('a', '1')];
  });
  await watched.until('a watch', ({ streams }) => streams.length === 1);
  const bytes = Buffer.from(
    change('ADDED', item('ä', '2')) + change('MODIFIED', item('a', '3')) + change('DELETED', item('a', '4')),
  );
  for (const byte of bytes) watched.streams[0]?.write(Buffer.of(byte));
  await watched.until('all changes', ({ seen }) => seen.length === 4);
  expect(watched.seen).toEqual(['a1', 'a1,ä2', 'a3,ä2', 'ä2']);
});

test('a connection that is cut goes on from where it was', async () => {
  const versions: string[] = [];
  await using watched = await Watched.begin((made) => {
    made.onWatch = (_response, version) => versions.push(version);
  });
  await watched.until('a watch', ({ streams }) => streams.length === 1);
  watched.streams[0]?.write(change('ADDED', item('a', '7')));
  watched.streams[0]?.write(change('BOOKMARK', { metadata: { resourceVersion: '9' } }));
  await watched.until('the change', ({ seen }) => seen.length === 2);
  watched.fake.cut();
  await watched.until('another watch', ({ streams }) => streams.length === 2);
  expect(versions[0]).toBe('1');
  expect(['7', '9']).toContain(versions[1]);
  expect(watched.troubles).toHaveLength(1);
  // What stands is told again, also where nothing has changed: the trouble is over.
  await watched.until('word that it goes on', ({ seen }) => seen.length === 3);
  watched.streams[1]?.end();
  await watched.until('a third watch', ({ streams }) => streams.length === 3);
  expect(watched.troubles).toHaveLength(1);
  expect(watched.fake.requests.filter((request) => !request.includes('watch='))).toHaveLength(1);
});

test('a watch that begins again and again keeps nothing in the signal that ends it', async () => {
  const sources = recordAnySignals();
  await using watched = await Watched.begin();
  for (const count of [1, 2]) {
    await watched.until('a watch', ({ streams }) => streams.length === count);
    // Is listed anew, too.
    watched.streams[count - 1]?.end(change('ERROR', { code: 410, message: 'too old' }));
  }
  await watched.until('a third watch', ({ streams }) => streams.length === 3);
  expect(new Set(sources).size).toBe(sources.length);
});

test.each([
  ['an event', (response: ServerResponse) => response.write(change('ERROR', { code: 410, message: 'too old' }))],
  ['an event of another kind', (response: ServerResponse) => response.write(change('ERROR', { code: 500 }))],
])('a version that is too old, by %s, is listed anew', async (_, tell) => {
  await using watched = await Watched.begin();
  await watched.until('a watch', ({ streams }) => streams.length === 1);
  watched.items = [item('b', '20')];
  watched.version = '20';
  const [stream] = watched.streams;
  if (stream !== undefined) tell(stream);
  await watched.until('the new list', ({ seen }) => seen.includes('b20'));
  expect(watched.failure).toBeUndefined();
});

test('a version that the API server does not have yet, as its data was restored, is listed anew', async () => {
  await using watched = await Watched.begin((made) => {
    made.version = '100';
  });
  await watched.until('a watch', ({ streams }) => streams.length === 1);
  const { answer } = watched.fake;
  watched.items = [item('b', '50')];
  watched.version = '50';
  watched.fake.answer = (request, response) => {
    if (!request.url?.includes('resourceVersion=100')) answer(request, response);
    else sendJson(response, 504, { message: 'Timeout: Too large resource version: 100, current: 50' });
  };
  watched.streams[0]?.end();
  await watched.until('the new list', ({ seen }) => seen.includes('b50'));
  expect(watched.troubles).toEqual([expect.stringContaining('Too large resource version')]);
  expect(watched.failure).toBeUndefined();
});

test('a watch that an API server is too busy for goes on from where it was', async () => {
  await using watched = await Watched.begin();
  await watched.until('a watch', ({ streams }) => streams.length === 1);
  const { answer } = watched.fake;
  watched.fake.answer = (_request, response) => {
    watched.fake.answer = answer;
    sendJson(response, 429, { message: 'busy' });
  };
  watched.streams[0]?.end();
  await watched.until('another watch', ({ streams }) => streams.length === 2);
  expect(watched.troubles).toEqual([expect.stringContaining('busy')]);
  expect(watched.fake.requests.filter((request) => !request.includes('watch='))).toHaveLength(1);
});

test('a watch that is not allowed ends, and says so once', async () => {
  await using watched = await Watched.begin((made) => {
    made.fake.answer = (_request, response) => sendJson(response, 403, { message: 'no' });
  });
  await watched.until('the failure', ({ failure }) => failure !== undefined);
  expect(watched.failure?.message).toBe('may not list pods in namespace "home" (403): no');
  expect(watched.fake.requests).toHaveLength(1);
});

test.each([401, 403, 404])(
  'a watch that worked before is not over when it is refused once, with %i',
  async (status) => {
    await using watched = await Watched.begin();
    await watched.until('a watch', ({ streams }) => streams.length === 1);
    const { answer } = watched.fake;
    let refused = 0;
    watched.fake.answer = (_request, response) => {
      refused += 1;
      // A second time with what was read anew.
      if (status !== 401 || refused === 2) watched.fake.answer = answer;
      sendJson(response, status, { message: 'not yet' });
    };
    watched.streams[0]?.end();
    await watched.until('another watch', ({ streams }) => streams.length === 2);
    watched.streams[1]?.write(change('ADDED', item('a', '2')));
    await watched.until('the change', ({ seen }) => seen.includes('a2'));
    expect(watched.failure).toBeUndefined();
    expect(watched.troubles).toEqual([expect.stringContaining(String(status))]);
  },
);

test('a watch that worked before and is refused for a minute ends', async () => {
  const clock = new FakeClock();
  await using watched = await Watched.begin(() => {}, clock);
  await watched.until('a watch', ({ streams }) => streams.length === 1);
  watched.fake.answer = (_request, response) => sendJson(response, 403, { message: 'no more' });
  watched.streams[0]?.end();
  const advanceUntil = (what: string, condition: () => boolean) =>
    watched.until(what, () => {
      void clock.advance(1_000);
      return condition();
    });
  await advanceUntil('a refusal', () => watched.troubles.length > 0);
  expect(watched.failure).toBeUndefined();
  await advanceUntil('the failure', () => watched.failure !== undefined);
  expect(watched.failure?.message).toContain('(403): no more');
  expect(watched.troubles.length).toBeGreaterThan(3);
});

test('a watch that is cut each minute, with no news, is begun again at once each time', async () => {
  const clock = new FakeClock();
  await using watched = await Watched.begin(() => {}, clock);
  for (let turn = 1; turn <= 6; turn += 1) {
    await watched.until(`watch ${turn}`, ({ streams }) => streams.length === turn);
    await clock.advance(60_000);
    watched.streams.at(-1)?.destroy();
    await watched.until(`cut ${turn}`, ({ troubles }) => troubles.length === turn);
    await clock.advance(250);
  }
});

test('versions that are all too old are listed anew with pauses', async () => {
  const clock = new FakeClock();
  await using watched = await Watched.begin((made) => {
    made.onWatch = (response) => response.end(change('ERROR', { code: 410, message: 'too old' }));
  }, clock);
  await watched.until('a watch', ({ streams }) => streams.length === 1);
  // Time for many more of them.
  for (let turn = 0; turn < 50; turn += 1) await fetch(`${watched.fake.url}/?watch`).then((answer) => answer.text());
  const ofWatch = () => watched.fake.requests.filter((request) => request.includes('watch=')).length;
  expect(ofWatch()).toBe(1);
  await clock.advance(250);
  await watched.until('another watch', () => ofWatch() === 2);
  expect(watched.failure).toBeUndefined();
});

test('nonsense on the line is trouble, and no end', async () => {
  await using watched = await Watched.begin((made) => {
    made.onWatch = (response) => {
      response.write(made.streams.length === 1 ? 'not json\n' : change('ADDED', item('a', '2')));
    };
  });
  await watched.until('the change after it', ({ seen }) => seen.includes('a2'));
  expect(watched.troubles).toHaveLength(1);
});

test('once closed it asks no more', async () => {
  await using watched = await Watched.begin();
  await watched.until('a watch', ({ streams }) => streams.length === 1);
  watched.close();
  await watched.until('the end of the connection', ({ streams }) => streams[0]?.destroyed === true);
  expect(watched.seen).toEqual(['']);
  expect(watched.fake.requests).toHaveLength(2);
});
