/**
 * The host of the chaos: a gateway under steady calls, in a process of its own that may be killed at any time. Told what to
 * do through IPC, and tells what it has seen.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js';
import type { Clock, Gateway } from '../../src/index.js';
import { loadLibrary } from '../bench/library.ts';
import { ChaosCaller } from './caller.ts';
import { patience } from './parts/part.ts';
import { type Answering, createAnswering } from './server.ts';
import { type Report, Tally } from './tally.ts';

/** What a host runs. */
export interface HostSettings {
  /** `h` and a number: all its tokens begin with it. */
  readonly name: string;
  /** The entries that a file could hold. */
  readonly servers: readonly { readonly id: string }[];
  /** The id of an entry in the host itself. */
  readonly inside?: string | undefined;
  readonly logFolder: string;
  /** How long an answer may take. */
  readonly longestMs: number;
  /** How much faster time runs. */
  readonly hurry: number;
  readonly library?: string | undefined;
}

/** What a host can be told. */
export type Order = 'begin' | 'quiet' | 'close' | 'end inside' | 'leave';

/** What a host tells. */
export type News = { readonly at: 'loaded' | 'quiet' | 'closed' } | { readonly report: Report };

const callEveryMs = 120;
const mostOpen = 8;
const graceMs = 1_000;

/** A server in this process that ends when it is told to. */
class InsideServer implements Transport {
  static readonly living = new Set<InsideServer>();
  readonly #answer: Answering;
  #ended = false;
  onmessage?: (message: JSONRPCMessage) => void;
  onclose?: () => void;

  constructor(answer: Answering) {
    this.#answer = answer;
  }

  async start(): Promise<void> {
    InsideServer.living.add(this);
  }

  async send(message: JSONRPCMessage): Promise<void> {
    if (this.#ended) throw new Error('the server has ended');
    void this.#answer(message, (answer) => {
      if (!this.#ended) this.onmessage?.(answer as JSONRPCMessage);
    });
  }

  async close(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    InsideServer.living.delete(this);
    this.onclose?.();
  }
}

class Host {
  readonly #gateway: Gateway;
  readonly #name: string;
  readonly #entries: readonly string[];
  readonly #longestMs: number;
  readonly #tally = new Tally();
  readonly #callers = new Set<ChaosCaller>();
  #calls = true;
  #count = 0;

  constructor(gateway: Gateway, { name, longestMs }: HostSettings) {
    this.#gateway = gateway;
    this.#name = name;
    this.#longestMs = longestMs;
    this.#entries = gateway.status().map(({ id }) => id);
  }

  begin(): void {
    for (const entry of this.#entries) void this.#callDirectly(entry);
    for (const lane of ['one', 'two']) void this.#callMerged(lane);
    setInterval(() => {
      for (const caller of this.#callers) caller.noteLost(this.#longestMs);
      tell({ report: this.#tally.take() });
    }, 250).unref();
  }

  /** Makes no more calls; resolves when each has its answer. */
  async quiet(): Promise<void> {
    this.#calls = false;
    for (const end = Date.now() + this.#longestMs; this.#open() > 0 && Date.now() < end; ) await sleep(20);
    for (const caller of this.#callers) caller.noteLost(0);
    tell({ report: this.#tally.take() });
  }

  /** Closes the gateway in the middle of what it does. */
  async close(): Promise<void> {
    this.#calls = false;
    await this.#gateway.close({ graceMs }).catch((error: unknown) => {
      this.#tally.problem(`${this.#name}: close() rejected: ${describe(error)}`);
    });
    for (const caller of this.#callers) caller.noteEnd();
    tell({ report: this.#tally.take() });
  }

  #open(): number {
    return [...this.#callers].reduce((sum, { open }) => sum + open, 0);
  }

  /** A session with one server; when it ends, the next one. */
  async #callDirectly(entry: string): Promise<void> {
    while (this.#calls) {
      const caller = await this.#begin(() => this.#gateway.connect(entry), entry);
      if (caller === undefined) {
        await sleep(200);
        continue;
      }
      // Some leave in the middle of their calls.
      const calls = 20 + Math.random() * 100;
      for (let call = 0; call < calls && this.#calls && !caller.isClosed; call += 1) {
        await this.#call(caller, entry, 'echo');
      }
      if (this.#calls && !caller.isClosed) await caller.leave();
      if (this.#calls) this.#callers.delete(caller);
    }
  }

  /** Calls all servers in turns. */
  async #callMerged(lane: string): Promise<void> {
    while (this.#calls) {
      const caller = await this.#begin(
        () => this.#gateway.connect({ caller: { id: `${this.#name}.${lane}` } }),
        'merged',
      );
      const calls = 200 + Math.random() * 400;
      for (let call = 0; caller !== undefined && call < calls && this.#calls; call += 1) {
        const entry = this.#entries[call % this.#entries.length] as string;
        await this.#call(caller, entry, this.#gateway.names.tool(entry, 'echo'));
      }
      if (caller !== undefined && this.#calls) {
        await caller.leave();
        this.#callers.delete(caller);
      }
    }
  }

  async #begin(connect: () => Transport, entry: string): Promise<ChaosCaller | undefined> {
    this.#count += 1;
    const caller = new ChaosCaller(connect(), `${this.#name}.${this.#count}`, this.#tally);
    this.#callers.add(caller);
    try {
      await caller.begin();
      return caller;
    } catch (error) {
      // As an SDK client does. What has not even started is closed by now.
      if (caller.hasStarted) await caller.leave();
      if (!caller.isClosed) this.#tally.problem(`${entry}: no onclose, though it did not begin: ${String(error)}`);
      this.#callers.delete(caller);
      return undefined;
    }
  }

  async #call(caller: ChaosCaller, entry: string, tool: string): Promise<void> {
    if (caller.open < mostOpen)
      caller.call(entry, tool, Math.random() < 0.3 ? Math.random() * 300 : 0, Math.random() < 0.3);
    await sleep(Math.random() * 2 * callEveryMs);
  }
}

function describe(error: unknown): string {
  return error instanceof AggregateError ? error.errors.map(describe).join('; ') : String(error);
}

function tell(news: News): void {
  if (process.connected) process.send?.(news);
}

function createClock(hurry: number): Clock {
  const begin = performance.now();
  return {
    now: () => begin + (performance.now() - begin) * hurry,
    date: () => Date.now(),
    setTimeout: (run, ms) => setTimeout(run, Math.min(ms / hurry, 2 ** 31 - 1)).unref(),
    clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
  };
}

const settings = JSON.parse(process.env.CHAOS_HOST ?? '') as HostSettings;
const library = await loadLibrary(settings.library);
let host: Host | undefined;

const orders: Record<Order, () => unknown> = {
  begin: () => {
    const { inside, servers, logFolder, hurry } = settings;
    const answer = () => createAnswering(inside ?? '', logFolder);
    const runtime = { type: 'in-process', server: () => new InsideServer(answer()) };
    const entry = { ...patience, id: inside, runtime };
    const catalog = { servers: [...servers, ...(inside === undefined ? [] : [entry])] };
    host = new Host(
      library.createGateway(catalog as never, hurry === 1 ? {} : { clock: createClock(hurry) }),
      settings,
    );
    host.begin();
  },
  quiet: async () => {
    await host?.quiet();
    tell({ at: 'quiet' });
  },
  close: async () => {
    await host?.close();
    tell({ at: 'closed' });
  },
  'end inside': () => {
    for (const server of InsideServer.living) void server.close();
  },
  // Nothing of ours may keep it now.
  leave: () => {
    process.off('disconnect', abandon);
    process.disconnect();
    setTimeout(() => process.stderr.write(`kept by ${process.getActiveResourcesInfo().join(', ')}\n`), 10_000).unref();
  },
};
// The supervisor has gone.
const abandon = () => process.exit(1);
process.once('disconnect', abandon);
process.on('message', (order: Order) => void orders[order]());
tell({ at: 'loaded' });
