import { setTimeout as sleep } from 'node:timers/promises';
import { SoakCaller } from '../soak/caller.ts';
import { shared } from '../soak/servers.ts';
import type { Library } from './library.ts';
import { interleave, quantile } from './measure.ts';
import { compare, type Row } from './report.ts';

const healthy = Array.from({ length: 15 }, (_, index) => ({
  id: `healthy-${index}`,
  runtime: (shared[0] as (typeof shared)[number]).runtime,
}));
// They cost next to nothing themselves: what is measured is what the gateway spends on them.
const sick = (restart: object) =>
  Array.from({ length: 5 }, (_, index) => ({
    id: `sick-${index}`,
    restart,
    runtime: { type: 'local-process', command: 'sh', args: ['-c', 'exit 3'] } as const,
  }));
const hurry = { max: 3, window: '2s', backoff: '50ms', max_backoff: '500ms', cooldown: '1s' };
const callsPerSecond = 250;
const calls = 500;
// A server that crashes is asked again this long after each answer.
const pesterMs = 20;

/** Calls of healthy servers, with and without servers beside them that crash whenever they are started. */
export async function supervision(library: Library): Promise<Row[]> {
  const sides = await Promise.all([
    openSide(library, 'alone', []),
    openSide(library, 'beside 5 that crash', sick({})),
    openSide(library, 'beside 5 that crash and may restart all the time', sick(hurry)),
  ]);
  const variants = sides.map(({ name, caller, pests }) => ({ name, run: () => measure(caller, pests) }));
  const samples = await interleave(variants, { rounds: 21, warmUp: 1 });
  for (const { name, gateway } of sides) {
    const restarts = gateway.status().reduce((sum, status) => sum + status.restarts, 0);
    console.error(`${name}: ${restarts} restarts`);
  }
  await Promise.all(sides.map(({ gateway }) => gateway.close({ graceMs: 0 })));
  const what = `p99 of ${callsPerSecond} calls a second to ${healthy.length} servers, merged peer`;
  return sides
    .slice(1)
    .map(({ name }, index) =>
      compare(samples, { what, ours: name, other: 'alone', goal: index === 0 ? { atMost: 1.2 } : undefined }),
    );
}

async function openSide(library: Library, name: string, sickServers: ReturnType<typeof sick>) {
  const gateway = library.createGateway({ servers: [...healthy, ...sickServers] });
  const caller = await SoakCaller.connect(gateway.connect(), (message) => {
    throw new Error(message);
  });
  await Promise.all(healthy.map(({ id }) => call(caller, id)));
  return { name, gateway, caller, pests: sickServers.map(({ id }) => new Pest(caller, id)) };
}

/** The time within which 99 of 100 calls are answered, from the moment each was due, in milliseconds. */
async function measure(caller: SoakCaller, pests: readonly Pest[]): Promise<number> {
  for (const pest of pests) {
    pest.start();
  }
  const latencies: number[] = [];
  const open: Promise<void>[] = [];
  const start = performance.now();
  for (let number = 0; number < calls; number += 1) {
    const due = start + (number * 1_000) / callsPerSecond;
    const wait = due - performance.now();
    if (wait > 0) {
      await sleep(wait);
    }
    const { id } = healthy[number % healthy.length] as (typeof healthy)[number];
    open.push(call(caller, id).then(() => void latencies.push(performance.now() - due)));
  }
  await Promise.all(open);
  for (const pest of pests) {
    pest.stop();
  }
  return quantile(latencies, 0.99);
}

/** Calls a server that crashes, again and again. */
class Pest {
  readonly #caller: SoakCaller;
  readonly #server: string;
  #active = false;
  /** A call that waits out its back-off goes on into the next turn. */
  #calling = false;

  constructor(caller: SoakCaller, server: string) {
    this.#caller = caller;
    this.#server = server;
  }

  start(): void {
    this.#active = true;
    if (!this.#calling) {
      void this.#call();
    }
  }

  stop(): void {
    this.#active = false;
  }

  async #call(): Promise<void> {
    this.#calling = true;
    while (this.#active) {
      await this.#caller.call(`${this.#server}__any`, '');
      await sleep(pesterMs);
    }
    this.#calling = false;
  }
}

async function call(caller: SoakCaller, server: string): Promise<void> {
  const answer = await caller.call(`${server}__echo`, server);
  if (answer === 'abandoned' || !('text' in answer) || answer.text !== server) {
    throw new Error(`${server} answered ${JSON.stringify(answer)}`);
  }
}
