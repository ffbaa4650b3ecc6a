import { describe, expect, test } from 'vitest';
import { createGateway, type Gateway } from '../../src/index.js';
import { isResponse, type JSONRPCMessage, type Transport } from '../../src/sdk.js';
import { type CountingKind, countingKinds, createCountingHost } from '../fixtures/http/counting-host.js';
import { count } from '../support/counts.js';
import { FaultyProxy, faults, type Plan } from '../support/faulty-proxy.js';
import { createRandom } from '../support/random.js';

const total = count(150, 1_000);
const sideBySide = 4;
const seed = process.env.TEST_SEED === undefined ? Date.now() % 2 ** 31 : Number(process.env.TEST_SEED);
// How calls have to end, among others: when all end alike, nothing is proved.
const ends = ['delivered: unknown', 'not delivered', 'result'];
const marks = { request: /"mark":"([^"]+)"/, answer: /answer:([a-z0-9-]+)/ };

interface Call {
  /** Grows when an answer comes twice. */
  readonly answers: readonly JSONRPCMessage[];
  /** The call was not taken: there was no session, and none could be had. */
  readonly refused?: Error;
}

// Sessions end all the time here, and that is nobody's fault.
const restart = { max: 1_000_000, backoff: '1ms', max_backoff: '2ms' } as const;

/** What came of one call. */
interface Outcome extends Call {
  readonly mark: string;
  readonly plan: Plan;
}

/** One session, begun again when it was lost. */
class Caller {
  readonly #gateway: Gateway;
  #transport: Transport | undefined;
  readonly #answers = new Map<string | number, JSONRPCMessage[]>();
  #wake = () => {};
  #lastId = 0;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  async call(mark: string, ms: number): Promise<Call> {
    try {
      const transport = await this.#connect();
      return { answers: await this.#ask(transport, 'tools/call', { name: 'count', arguments: { mark, ms } }) };
    } catch (error) {
      return { answers: [], refused: error as Error };
    }
  }

  async #connect(): Promise<Transport> {
    while (this.#transport === undefined) {
      const transport = this.#gateway.connect('remote');
      transport.onmessage = (message) => {
        if (!isResponse(message) || message.id === undefined) return;
        this.#answers.get(message.id)?.push(message);
        this.#wake();
      };
      transport.onclose = () => {
        if (this.#transport === transport) this.#transport = undefined;
      };
      await transport.start();
      this.#transport = transport;
      const clientInfo = { name: 'test', version: '1' };
      const [answer] = await this.#ask(transport, 'initialize', {
        protocolVersion: '2025-11-25',
        capabilities: {},
        clientInfo,
      });
      if (answer !== undefined && 'result' in answer) {
        await transport.send({ jsonrpc: '2.0', method: 'notifications/initialized' }).catch(() => {});
      } else {
        await transport.close();
      }
    }
    return this.#transport;
  }

  async #ask(transport: Transport, method: string, params: Record<string, unknown>): Promise<JSONRPCMessage[]> {
    this.#lastId += 1;
    const id = this.#lastId;
    const answers: JSONRPCMessage[] = [];
    this.#answers.set(id, answers);
    await new Promise<void>((resolve, reject) => {
      this.#wake = () => answers.length > 0 && resolve();
      // Over HTTP+SSE the answer may come before the server has acknowledged the request, or instead of that.
      transport.send({ jsonrpc: '2.0', id, method, params }).catch(reject);
    });
    // The same list: what comes twice shows in it later.
    return answers;
  }
}

function outcomeOf({ answers: [answer], refused }: Outcome): string {
  if (refused !== undefined) return 'refused';
  if (answer === undefined) return 'none';
  if ('result' in answer) return 'result';
  const { delivered } = (answer as { error: { data?: { delivered?: unknown } } }).error.data ?? {};
  return delivered === false ? 'not delivered' : `delivered: ${String(delivered)}`;
}

async function run(kind: CountingKind, wanted: number, random: () => number) {
  await using host = await createCountingHost(kind);
  const outcomes: Outcome[] = [];
  const injected = new Map<string, number>();
  let left = wanted;
  // A refused connection is told from one that was just cut by who is faster: it goes on until each end was seen.
  const goesOn = () =>
    left > 0 || (left > -9 * wanted && !ends.every((end) => outcomes.some((outcome) => outcomeOf(outcome) === end)));
  // All kinds in turn, each time in another order: none is left out by chance.
  let deck: Plan['fault'][] = [];
  const draw = () => {
    if (deck.length === 0) deck = [...faults];
    return deck.splice(Math.floor(random() * deck.length), 1)[0] as Plan['fault'];
  };
  const work = async (name: string) => {
    await using proxy = await FaultyProxy.open(host.port, marks);
    const url = `http://127.0.0.1:${proxy.port}${host.path}`;
    await using gateway = createGateway({
      servers: [{ id: 'remote', request_timeout: '1s', restart, runtime: { type: 'remote-sse', url } }],
    });
    const caller = new Caller(gateway);
    for (let index = 0; goesOn(); index += 1) {
      const mark = `${name}-${index}`;
      const fault = draw();
      const plan: Plan = { fault, at: random(), reset: random() < 0.5, lateMs: random() * 60 };
      const ms = random() < 0.5 ? 0 : random() * 20;
      // A call that nothing happens to: the session is there, and kept connections are.
      outcomes.push({ mark: `${mark}-before`, plan, ...(await caller.call(`${mark}-before`, 0)) });
      const before = proxy.injected;
      await proxy.arm(mark, plan);
      const call = await caller.call(mark, ms);
      await proxy.disarm(mark, plan);
      outcomes.push({ mark, plan, ...call });
      if (proxy.injected > before) {
        left -= 1;
        injected.set(fault, (injected.get(fault) ?? 0) + 1);
      }
    }
  };
  await Promise.all(Array.from({ length: sideBySide }, (_, index) => work(`${kind.replace(' ', '-')}-${index}`)));
  return { outcomes, injected, executed: new Map(host.executed), seen: new Set(host.seen) };
}

describe(`${total} network faults, seed ${seed} (TEST_SEED)`, () => {
  test.each(countingKinds)(
    'answers as %s: executed at most once, answered exactly once, "not delivered" is true',
    async (kind) => {
      const wanted = Math.ceil(total / countingKinds.length);
      const random = createRandom(seed + countingKinds.indexOf(kind));
      const { outcomes, injected, executed, seen } = await run(kind, wanted, random);
      const problems = outcomes.flatMap((outcome) => {
        const { mark, plan, answers, refused } = outcome;
        const runs = executed.get(mark) ?? 0;
        const what = outcomeOf(outcome);
        const wrong = [
          runs > 1 && `executed ${runs} times`,
          refused === undefined && answers.length !== 1 && `answered ${answers.length} times`,
          refused !== undefined && seen.has(mark) && `not taken (${refused.message}), and the server has seen it`,
          what === 'result' && runs !== 1 && `a result of ${runs} executions`,
          what === 'not delivered' && seen.has(mark) && 'called not delivered, and the server has seen it',
        ].filter(Boolean);
        return wrong.map((text) => `${mark} (${JSON.stringify(plan)}): ${text}; ${JSON.stringify(answers)}`);
      });
      expect(problems, `seed ${seed}`).toEqual([]);
      // Faults that do not come about prove nothing, nor do those that all end alike.
      expect([...injected.values()].reduce((sum, times) => sum + times, 0)).toBeGreaterThanOrEqual(wanted);
      expect(injected.size).toBeGreaterThan(faults.length / 2);
      const whats = new Set(outcomes.map(outcomeOf));
      expect([...whats].sort(), `seed ${seed}`).toEqual(expect.arrayContaining(ends));
    },
    600_000,
  );
});
