import { expect, test } from 'vitest';
import { createGateway, type Gateway } from '../../src/index.js';
import type { JSONRPCMessage, Transport } from '../../src/sdk.js';
import { count } from '../support/counts.js';
import { createTag, tagVariable, untilLiving } from '../support/processes.js';
import { createRandom } from '../support/random.js';
import { serverPath } from '../support/trees.js';

const kills = count(120, 1_008);
const inFlight = 50;
// They race with the kill: some are answered by the server.
const racing = 20;
const lanes = 4;
const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31);

type Answer = {
  readonly id: number;
  readonly result?: { readonly content: readonly { readonly text: string }[] };
  readonly error?: { readonly data: Readonly<Record<string, unknown>> };
};

/** A caller that counts the answers of each of its calls. */
class Caller {
  readonly answers = new Map<number, Answer[]>();
  readonly #transport: Transport;
  readonly #closed = Promise.withResolvers<void>();
  #change: (() => void)[] = [];
  #lastId = 0;
  closes = 0;

  constructor(transport: Transport) {
    this.#transport = transport;
    transport.onmessage = (message) => {
      const answer = message as unknown as Answer;
      this.answers.get(answer.id)?.push(answer);
      for (const wake of this.#change.splice(0)) {
        wake();
      }
    };
    transport.onclose = () => {
      this.closes += 1;
      this.#closed.resolve();
    };
  }

  /** @returns its id */
  async send(method: string, params: Record<string, unknown>): Promise<number> {
    this.#lastId += 1;
    const id = this.#lastId;
    this.answers.set(id, []);
    await this.#transport.send({ jsonrpc: '2.0', id, method, params } as JSONRPCMessage);
    return id;
  }

  async open(): Promise<void> {
    await this.#transport.start();
    const clientInfo = { name: 'test', version: '1' };
    await this.until([await this.send('initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo })]);
    await this.#transport.send({ jsonrpc: '2.0', method: 'notifications/initialized' });
  }

  call(tool: string, args: Record<string, unknown>): Promise<number> {
    return this.send('tools/call', { name: tool, arguments: args });
  }

  /** Resolves when so many of these calls have their answer, all unless said otherwise. */
  async until(ids: readonly number[], wanted = ids.length): Promise<void> {
    while (ids.filter((id) => this.answers.get(id)?.length !== 0).length < wanted) {
      await new Promise<void>((resolve) => this.#change.push(resolve));
    }
  }

  close(): Promise<void> {
    return this.#transport.close();
  }

  get closed(): Promise<void> {
    return this.#closed.promise;
  }
}

/** Kills the server of an entry in the middle of many calls by these callers, and waits until each call is answered. */
async function round(gateway: Gateway, server: string, callers: readonly Caller[], tool: string, random: () => number) {
  await Promise.all(
    callers.map(async (caller) => {
      const id = await caller.call(`${tool}echo`, { text: 'warm' });
      await caller.until([id]);
      expect(caller.answers.get(id)).toMatchObject([{ result: {} }]);
    }),
  );
  const sent = await Promise.all(
    callers.map(async (caller) => ({
      caller,
      held: await many(inFlight / callers.length, () => caller.call(`${tool}slow`, { ms: 600_000 })),
      quick: await many(racing / callers.length, (text) => caller.call(`${tool}echo`, { text })),
    })),
  );
  const { caller, quick } = sent[0] as (typeof sent)[number];
  await caller.until(quick, Math.floor(random() * quick.length));
  const [instance, ...others] = gateway.status(server).instances.filter(({ phase }) => phase === 'ready');
  expect(others).toEqual([]);
  expect(instance?.inFlight).toBeGreaterThanOrEqual(inFlight);
  process.kill(instance?.pid as number, 'SIGKILL');
  await Promise.all(sent.map((part) => part.caller.until([...part.held, ...part.quick])));
  for (const part of sent) {
    for (const id of part.held) {
      const { error } = part.caller.answers.get(id)?.[0] ?? {};
      expect(error?.data).toMatchObject({ code: 'SERVER_EXITED', server, exit: { signal: 'SIGKILL' } });
      expect([true, 'unknown']).toContain(error?.data.delivered);
    }
    for (const [index, id] of part.quick.entries()) {
      const { result, error } = part.caller.answers.get(id)?.[0] ?? {};
      expect(error?.data.code ?? result?.content[0]?.text).toBeOneOf([
        'SERVER_EXITED',
        JSON.stringify({ text: String(index) }),
      ]);
    }
  }
}

async function many(count: number, send: (text: string) => Promise<number>): Promise<number[]> {
  const ids: number[] = [];
  for (let index = 0; index < count; index += 1) {
    ids.push(await send(String(index)));
  }
  return ids;
}

function expectOneAnswerEach({ answers }: Caller): void {
  expect([...answers.values()].filter(({ length }) => length !== 1)).toEqual([]);
}

/** Each plays its part of the kills with the server of one entry, and returns the callers that it has left. */
const ways: Readonly<Record<string, Way>> = {
  // Ends with its server: a new connection for each.
  'raw connections': async (gateway, server, rounds, random) => {
    for (let done = 0; done < rounds; done += 1) {
      const caller = new Caller(gateway.connect(server));
      await caller.open();
      await round(gateway, server, [caller], '', random);
      await caller.closed;
      expect(caller.closes).toBe(1);
      expectOneAnswerEach(caller);
    }
    return [];
  },
  'the merged peer': (gateway, server, rounds, random) => merged(1, gateway, server, rounds, random),
  'callers that share a server': (gateway, server, rounds, random) => merged(2, gateway, server, rounds, random),
};

type Way = (gateway: Gateway, server: string, rounds: number, random: () => number) => Promise<readonly Caller[]>;

async function merged(count: number, ...[gateway, server, rounds, random]: Parameters<Way>): Promise<Caller[]> {
  const callers = Array.from({ length: count }, () => new Caller(gateway.connect({ servers: [server] })));
  await Promise.all(callers.map((caller) => caller.open()));
  for (let done = 0; done < rounds; done += 1) {
    await round(gateway, server, callers, `${server}__`, random);
  }
  return callers;
}

test.each(Object.keys(ways))(
  `%s get one answer to each request when servers are killed with ${inFlight} requests in flight, ${kills / 3} times`,
  { timeout: 900_000 },
  async (way) => {
    console.log(`seed ${seed}: repeat with TEST_SEED`);
    const tag = createTag();
    const rounds = Math.ceil(kills / Object.keys(ways).length / lanes);
    const servers = Array.from({ length: lanes }, (_, lane) => ({
      id: `s${lane}`,
      env: { [tagVariable]: tag },
      isolation: way.includes('share') ? ('shared' as const) : ('caller' as const),
      restart: { max: 10_000, backoff: '1ms', max_backoff: '1ms' },
      runtime: { type: 'local-process' as const, command: process.execPath, args: [serverPath('tools')] },
    }));
    const exits: string[] = [];
    const gateway = createGateway(
      { servers },
      { onEvent: (event) => event.type === 'phase' && event.to === 'failed' && exits.push(event.instance) },
    );
    const callers = await Promise.all(
      servers.map(({ id }, lane) => (ways[way] as Way)(gateway, id, rounds, createRandom(seed + lane))),
    );
    await gateway.close({ graceMs: 0 });
    callers.flat().forEach(expectOneAnswerEach);
    expect(new Set(exits).size).toBe(rounds * lanes);
    expect(await untilLiving(tag, (living) => living === 0, 60_000)).toEqual([]);
  },
);
