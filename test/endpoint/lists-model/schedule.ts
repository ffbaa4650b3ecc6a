import { allListKinds, type ListKind } from '../../../src/endpoint/list-kinds.js';
import { createGateway, type Gateway } from '../../../src/index.js';
import { type Chance, createChance } from '../../gateway/model/chance.js';
import { FakeClock, settle } from '../../support/fake-clock.js';
import type { ScriptedInstance } from '../scripted-server.js';
import { ScriptedRuntime } from '../setup.js';
import { Callers } from './callers.js';
import { Catalog, serverIds } from './catalog.js';
import { Ending } from './ending.js';
import { Host } from './host.js';
import { Judge } from './judge.js';
import { Member } from './members.js';
import { type Answering, Played } from './played.js';
import { createSnapshot } from './snapshots.js';

const mostMembers = 5;
const kinds = allListKinds as [ListKind, ...ListKind[]];

/** The lists of a gateway whose servers change them at random: one step for each number. */
export class Schedule {
  readonly judge = new Judge();
  readonly clock = new FakeClock();
  readonly catalog: Catalog;
  readonly played: Played;
  readonly host: Host;
  readonly callers: Callers;
  readonly members: Member[] = [];
  readonly gateway: Gateway;
  readonly #operations = new Set<string>();

  constructor(setting: number) {
    const { judge, clock } = this;
    const chance = createChance(setting);
    judge.nowMs = () => clock.now();
    this.catalog = new Catalog(chance);
    this.played = new Played(judge, this.catalog, serverIds, chance);
    this.callers = new Callers(judge, this.catalog);
    this.host = new Host(judge, serverIds, chance);
    const catalog = this.catalog.input();
    const names = this.catalog.naming;
    const { intercept } = this.host;
    judge.isIntercepted = intercept !== undefined;
    const snapshot = chance.oneIn(3) ? createSnapshot(this.catalog, this.played, chance) : undefined;
    judge.log(`setting: ${JSON.stringify(catalog)} ${String(names)} ${JSON.stringify(snapshot)}`);
    const runtimes = [new ScriptedRuntime(Object.fromEntries(this.played.servers))];
    this.gateway = createGateway(catalog as never, { clock, names, intercept, snapshot, runtimes }) as Gateway;
    for (let count = 0; count < 3; count += 1) {
      this.#join(chance);
    }
  }

  async step(number: number): Promise<void> {
    const chance = createChance(number);
    const { played, callers } = this;
    const member = chance.pick(this.members.filter(({ isThere }) => isThere));
    const instance = chance.pick(played.live);
    const id = chance.one(serverIds as unknown as [string, ...string[]]);
    const by = (run: (one: Member) => void) => () => member && run(member);
    const at = (run: (one: ScriptedInstance) => void) => () => instance && run(instance);
    await chance.weigh<() => unknown>([
      [20, () => this.pause()],
      [24, by((who) => callers.list(who, chance.one(kinds)))],
      [20, by((who) => callers.use(who, chance))],
      [2, by((who) => callers.subscribe(who, chance))],
      [6, by((who) => callers.complete(who, chance))],
      [5, () => callers.goOn(chance)],
      [2, by((who) => callers.goOnWithOther(who, chance))],
      [1, by((who) => this.leave(who))],
      [2, () => void (this.members.length < mostMembers && this.#join(chance))],
      [10, at((which) => played.changeRunning(which, chance))],
      [3, at((which) => played.announce(which, chance.one(kinds)))],
      [4, () => played.change(id, chance)],
      [4, at((which) => played.die(which))],
      [
        8,
        () =>
          played.answering.set(
            `${id} ${chance.one(kinds)}`,
            chance.one<Answering>(['wait', 'wait', 'wait', 'fail', 'never']),
          ),
      ],
      [8, () => this.#release(chance)],
      [4, () => this.host.change(id, chance)],
      [3, () => this.host.release(chance)],
      [3, () => this.#prepareOpen(chance)],
      [4, () => played.openDoors()],
      [4, () => this.#reload(chance)],
      [1, () => this.#operate(chance)],
      [8, () => this.passTime(chance.one([10, 25, 700, 5_000, 5_100, 31_000]))],
    ])();
  }

  async finish(): Promise<void> {
    await new Ending(this).finish();
    for (const what of this.#operations) {
      this.judge.problem(`${what} does not end`);
    }
    await this.#close();
  }

  async pause(): Promise<void> {
    await settle();
    await settle();
  }

  async passTime(ms: number): Promise<void> {
    this.judge.log(`${ms} ms pass`);
    await this.clock.advance(ms);
    await this.pause();
  }

  leave(member: Member): void {
    member.leave().catch((error: unknown) => this.judge.problem(`${member.name} cannot leave: ${String(error)}`));
  }

  #join(chance: Chance): void {
    const member = new Member(
      this.members.length,
      this.gateway,
      this.judge,
      chance,
      this.catalog.ids.length < serverIds.length,
    );
    this.members.push(member);
    void settle().then(() => member.isModern && member.isThere && chance.oneIn(2) && member.listen());
  }

  #release(chance: Chance): void {
    const { held } = this.played;
    const [one] = held.splice(chance.below(held.length), 1);
    one && this.played.release(one);
  }

  #prepareOpen(chance: Chance): void {
    this.played.nextOpen = chance.one(['wait', 'fail']);
    this.judge.log(`the next start: ${this.played.nextOpen}`);
  }

  #reload(chance: Chance): void {
    const text = this.catalog.change(chance);
    this.judge.log(`reload: ${text}`);
    this.judge.count('reload');
    this.judge.caused();
    const graceMs = chance.one([0, 5_000]);
    this.#watch(`reload: ${text}`, this.gateway.reload(this.catalog.input() as never, { graceMs }));
  }

  #operate(chance: Chance): void {
    const id = chance.pick(this.catalog.ids);
    const method = chance.one<'start' | 'stop' | 'restart'>(['start', 'stop', 'restart']);
    if (id !== undefined) {
      this.judge.log(`${method} ${id}`);
      this.judge.count(method);
      this.judge.caused();
      const end = method === 'start' ? () => {} : this.judge.stopping(id);
      this.#watch(`${method} ${id}`, this.gateway[method](id).finally(end));
    }
  }

  #watch(what: string, running: Promise<unknown>): void {
    this.#operations.add(what);
    running
      .catch((error: unknown) => this.judge.log(`${what} failed: ${String(error)}`))
      .finally(() => this.#operations.delete(what));
  }

  async #close(): Promise<void> {
    const { judge, clock, played } = this;
    let isDone = false;
    const closing = this.gateway.close({ graceMs: 0 }).then(() => {
      isDone = true;
    });
    await this.passTime(30_000);
    if (!isDone) {
      return judge.problem('close does not end');
    }
    await closing;
    if (played.live.length > 0 || clock.waiting > 0) {
      judge.problem(`left at the end: ${played.live.map((each) => played.name(each))}, ${clock.waiting} timers`);
    }
    for (const { name, sent, closes, hasLeft } of this.members) {
      for (const { id, answers } of hasLeft ? [] : sent) {
        answers !== 1 && judge.problem(`${id} of ${name} has ${answers} answers`);
      }
      closes !== 1 && judge.problem(`${name} was told ${closes} times that it is closed`);
    }
  }
}
