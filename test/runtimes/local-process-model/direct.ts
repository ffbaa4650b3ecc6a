import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GatewayError } from '../../../src/errors.js';
import { LocalProcessRuntime, type LocalProcessSpec } from '../../../src/runtimes/local-process.js';
import { createRuntimeContext } from '../../../src/testing/index.js';
import { type Chance, createChance } from '../../gateway/model/chance.js';
import type { PlayedSchedule } from '../../support/play-schedules.js';
import { Judge } from './judge.js';
import { checkLeftovers, type Survivors } from './leftovers.js';
import { Lives, mostBytes } from './lives.js';
import { Opened } from './opened.js';
import { choosePadding, choosePlan, chooseProgram, isHarmless } from './programs.js';
import { blockHost, signalServer } from './signals.js';

const eras = ['legacy', 'modern', 'both'] as const;
const patienceMs = 120_000;

/** Transports of a runtime, and whatever may happen to them and their servers, one step for each number. */
export class DirectSchedule implements PlayedSchedule {
  readonly judge = new Judge();
  readonly #lives = new Lives();
  readonly #runtime: LocalProcessRuntime;
  readonly #setting: number;
  readonly #survivors: Survivors;
  readonly #opened: Opened[] = [];
  readonly #openings = new Set<{ readonly abort: AbortController; readonly done: Promise<void> }>();

  constructor(setting: number, survivors: Survivors) {
    this.#setting = setting;
    this.#survivors = survivors;
    this.#runtime = new LocalProcessRuntime({ guardian: createChance(setting).oneIn(2) });
  }

  async step(number: number): Promise<void> {
    const chance = createChance(number);
    const one = chance.pick(this.#opened.filter(({ isOver }) => !isOver));
    const run = chance.weigh<() => unknown>([
      [14, () => sleep(chance.one([0, 1, 5, 20]))],
      [2, () => void this.#open(chance)],
      [5, () => this.#open(chance)],
      [1, () => this.#openAndAbort(chance)],
      [1, () => this.#openNothing(chance)],
      [12, () => one?.send(chooseProgram(chance, 1), choosePadding(chance), true)],
      [12, () => one?.send(chooseProgram(chance, 0), choosePadding(chance), false)],
      [1, () => blockHost(chance)],
      [1, () => one && this.#sendMany(one, chance)],
      [1, () => one && this.#sendAndClose(one, chance)],
      [1, () => one?.close()],
      [2, () => void one?.close()],
      [1, () => one?.health()],
      [3, () => one && this.#signal(one, chance)],
    ]);
    await run();
  }

  async finish(): Promise<void> {
    const chance = createChance(this.#setting);
    if (chance.below(3) > 0) await sleep(chance.one([5, 50, 300]));
    if (chance.oneIn(2)) await Promise.all(this.#opened.map((one) => one.answers()));
    if (chance.oneIn(3)) for (const { abort } of this.#openings) abort.abort(new Error('nobody waits any more'));
    if (chance.oneIn(3)) for (const one of this.#opened) void one.close();
    await this.judge.within('open()', Promise.all([...this.#openings].map(({ done }) => done)), patienceMs);
    await Promise.all(this.#opened.map((one) => one.close()));
    await Promise.all(this.#opened.map((one) => one.settled()));
    await this.judge.within('close() of the runtime', this.#runtime.close(), patienceMs);
    const lives = this.#lives.read();
    for (const one of this.#opened) one.check(lives.get(one.pid));
    checkLeftovers(this.#lives, lives, this.judge, this.#survivors);
    this.#lives[Symbol.dispose]();
  }

  #choose(chance: Chance): LocalProcessSpec {
    const stop = {
      stdin: chance.one(['150ms', '150ms', '0']),
      sigterm: chance.one(['100ms', '100ms', '0']),
      sigkill: '20s',
    };
    return { ...this.#lives.command(chance.one(eras), [choosePlan(chance)]), stop_timeout: stop };
  }

  #open(chance: Chance): Promise<void> {
    const startsLate = chance.oneIn(8) ? chance.one([1, 20, 80]) : 0;
    return this.#openWith(this.#choose(chance), startsLate, new AbortController());
  }

  async #openAndAbort(chance: Chance): Promise<void> {
    const abort = new AbortController();
    const opening = this.#openWith(this.#choose(chance), 0, abort);
    const wait = chance.one([undefined, 0, 1, 3, 8]);
    if (wait !== undefined) await sleep(wait);
    abort.abort(new Error('nobody waits any more'));
    await opening;
  }

  #openWith(spec: LocalProcessSpec, startsLate: number, abort: AbortController): Promise<void> {
    const { judge } = this;
    const open = async () => {
      try {
        const transport = await this.#runtime.open(spec, this.#context(abort.signal));
        judge.happens('open', `${transport.pid} is open: ${spec.args?.slice(2).join(', ')}`);
        const opened = new Opened(transport, judge, !isHarmless(spec.args?.at(-1) ?? ''));
        this.#opened.push(opened);
        if (startsLate > 0) await sleep(startsLate);
        if (!opened.isOver) await opened.start();
      } catch (error) {
        if (error !== abort.signal.reason) judge.problem(`open() rejected with ${String(error)}`);
        judge.count('aborted');
      }
    };
    const opening = { abort, done: open().finally(() => this.#openings.delete(opening)) };
    this.#openings.add(opening);
    return opening.done;
  }

  /** What cannot be started says why. */
  async #openNothing(chance: Chance): Promise<void> {
    const [spec, why] = chance.one<readonly [LocalProcessSpec, RegExp]>([
      [{ command: 'no-such-command' }, /was not found/],
      [{ command: '/no/such/command' }, /does not exist/],
      [{ command: '/etc/passwd' }, /is not executable/],
      [{ command: '/etc' }, /is a directory/],
      [
        { ...this.#choose(chance), working_dir: join(this.#lives.folder, 'none') },
        /working directory .* does not exist/,
      ],
      [{ ...this.#choose(chance), working_dir: '/etc/passwd' }, /working directory .* is not a directory/],
    ]);
    const error: unknown = await this.#runtime.open(spec, this.#context(new AbortController().signal)).then(
      (transport) => transport.close(),
      (reason: unknown) => reason,
    );
    this.judge.count('START_FAILED');
    if (!GatewayError.is(error) || error.code !== 'START_FAILED' || !why.test(error.message))
      this.judge.problem(`open() of ${JSON.stringify(spec)}: ${String(error)}`);
  }

  #signal(one: Opened, chance: Chance): void {
    one.isUnwell = true;
    signalServer(one.pid, chance, this.judge);
  }

  #sendMany(one: Opened, chance: Chance): void {
    for (let count = chance.one([2, 10, 40]); count > 0; count -= 1)
      one.send(chooseProgram(chance, 0), count % 5 === 0 ? choosePadding(chance) : '', false);
  }

  async #sendAndClose(one: Opened, chance: Chance): Promise<void> {
    one.send(chance.one(['deaf:100', 'reply', 'reply exit:0']), '', true);
    this.#sendMany(one, chance);
    if (chance.oneIn(2)) await sleep(chance.one([0, 1, 10]));
    await one.close();
  }

  #context(signal: AbortSignal) {
    const limits = { maxMessageBytes: mostBytes, stderrTailBytes: 64 * 1024 };
    return createRuntimeContext({ env: this.#lives.env, signal, limits });
  }
}
