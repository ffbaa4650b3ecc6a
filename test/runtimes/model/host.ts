import type { Clock } from '../../../src/options.js';
import type { RuntimeFactory } from '../../../src/runtime.js';
import { createRuntimeContext } from '../../../src/testing/index.js';
import type { Chance } from '../../gateway/model/chance.js';
import type { Door } from './door.js';
import type { Judge } from './judge.js';
import { Opened } from './opened.js';
import type { PlayedServer } from './played-server.js';

interface Opening {
  readonly abort: AbortController;
  readonly done: Promise<void>;
}

export interface HostOptions<Spec> {
  readonly number: number;
  /** Its way to what runs its servers. */
  readonly door: Door;
  readonly runtime: RuntimeFactory<Spec>;
  readonly clock: Clock;
  readonly judge: Judge;
  /** The server that was started for an instance. */
  serverOf(gatewayId: string, instanceId: string): PlayedServer | undefined;
}

/** What nobody may read but the server. */
export const secret = 'sEcReT-value-of-the-server';

/** One process that uses a runtime. */
export class Host<Spec> {
  isDead = false;
  readonly opened: Opened[] = [];
  readonly #options: HostOptions<Spec>;
  readonly #openings = new Set<Opening>();
  #count = 0;
  #closeError: unknown;

  constructor(options: HostOptions<Spec>) {
    this.#options = options;
  }

  get number(): number {
    return this.#options.number;
  }

  get door(): Door {
    return this.#options.door;
  }

  get id(): string {
    return `host-${this.number}`;
  }

  /** Opens a server, and goes on with it when it is there. */
  open(spec: Spec): void {
    this.#count += 1;
    const { judge, runtime, serverOf } = this.#options;
    const instanceId = `${this.id}-${this.#count}`;
    judge.log(`${this.id} opens ${instanceId} ${JSON.stringify(spec)}`);
    const abort = new AbortController();
    const context = this.#context(instanceId, abort.signal);
    const open = async () => {
      try {
        const transport = await runtime.open(spec, context);
        judge.count('open');
        judge.log(`${instanceId} is open`);
        const opened = new Opened(instanceId, transport, serverOf(this.id, instanceId), judge);
        this.opened.push(opened);
        await opened.start();
      } catch (error) {
        judge.notOpened(instanceId, error, abort.signal, this.isDead);
      }
    };
    const opening: Opening = { abort, done: open().finally(() => this.#openings.delete(opening)) };
    this.#openings.add(opening);
  }

  abort(chance: Chance): void {
    const opening = chance.pick([...this.#openings]);
    opening?.abort.abort(new Error('nobody waits any more'));
    if (opening !== undefined) this.#options.judge.count('abort');
  }

  abortAll(): void {
    for (const { abort } of this.#openings) abort.abort(new Error('nobody waits any more'));
  }

  async check(spec: Spec): Promise<void> {
    const { judge, runtime } = this.#options;
    const context = this.#context('check', AbortSignal.timeout(60_000));
    await runtime.check?.(spec, context).catch((error: unknown) => {
      if (!context.signal.aborted) judge.problem(`check() rejected: ${String(error)}`);
    });
  }

  /** Settles when no open() is under way. */
  async opening(): Promise<void> {
    await Promise.all([...this.#openings].map(({ done }) => done));
  }

  /** Closes the runtime. */
  async close(): Promise<void> {
    await this.#options.runtime.close?.().catch((error: unknown) => {
      this.#closeError = error;
    });
  }

  /** What it was told of things that could not be taken away, when it closed. */
  get stopErrors(): unknown[] {
    return [...this.opened.flatMap(({ stopErrors }) => stopErrors), this.#closeError].filter(
      (one) => one !== undefined,
    );
  }

  get closeError(): unknown {
    return this.#closeError;
  }

  #context(instanceId: string, signal: AbortSignal) {
    const { clock } = this.#options;
    return createRuntimeContext({ instanceId, gatewayId: this.id, clock, env: { SECRET: secret }, signal });
  }
}
