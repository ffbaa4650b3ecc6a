import type { Gateway } from '../../../src/index.js';
import { type Chance, createChance } from '../../gateway/model/chance.js';
import { settle } from '../../support/fake-clock.js';
import { Ending } from './ending.js';
import { isWaiting, type Judge } from './judge.js';
import { uris } from './listeners.js';
import { World } from './world.js';

/** A gateway with callers of a remote server that misbehaves: one step for each number. */
export class Schedule {
  readonly judge: Judge;
  readonly #chance: Chance;
  readonly #world: World;

  constructor(setting: number) {
    this.#chance = createChance(setting);
    this.#world = new World(setting, this.#chance);
    this.judge = this.#world.judge;
  }

  async step(number: number): Promise<void> {
    const world = this.#world;
    const gateway = await world.open(this.#chance);
    const chance = createChance(number);
    const { isModern, pace, play, server } = world;
    const member = chance.pick(world.present);
    const asksPersons = play.access.kind === 'person';
    await chance.weigh<() => unknown>([
      [14, () => pace.quiet()],
      [3, () => settle()],
      [26, () => member?.call(world.nextCall(), chance)],
      [14, () => play.release(chance)],
      [4, () => this.#cancel(chance)],
      [1, () => member && world.follow('leave', member.leave())],
      [3, () => world.join(chance)],
      [isModern ? 12 : 0, () => member?.watches.begin(chance.one(uris), world.nextCall())],
      [isModern ? 6 : 0, () => member?.watches.end(world.nextCall())],
      [asksPersons ? 12 : 0, () => world.follow('consent', play.access.persons.decide(chance))],
      [3, () => server.disturb(chance)],
      [6, () => this.#interrupt(chance)],
      [6, () => server.speak(chance)],
      [3, () => play.host.closeIdle()],
      [4, () => play.access.persons.expire(chance)],
      [1, () => this.#goDown(chance)],
      [5, () => world.comeUp()],
      [1, () => this.#operate('restart', gateway, chance)],
      [1, () => this.#operate('stop', gateway, chance)],
      [1, () => world.follow('reload', gateway.reload(world.catalog(true)))],
      [6, () => pace.passTime(chance.one([100, 500, 2_000, 6_000, 20_000, 70_000]))],
    ])();
  }

  /** Lets everything come to its end, looks whether it is as it should be, and closes. */
  async finish(): Promise<void> {
    const gateway = await this.#world.open(this.#chance);
    const ending = new Ending(this.#world, gateway, this.#chance);
    if (this.#chance.oneIn(2)) await ending.settleAll();
    await ending.close();
  }

  #operate(what: 'restart' | 'stop', gateway: Gateway, chance: Chance): void {
    this.#world.follow(what, gateway[what]('remote', { graceMs: chance.one([0, 500]) }));
  }

  #cancel(chance: Chance): void {
    const calls = [...this.judge.calls.values()].filter((call) => isWaiting(call) && call.member.isThere);
    const call = chance.pick(calls);
    call?.member.cancel(call);
  }

  /** A stream ends that belongs to no request, and is taken up again. */
  async #interrupt(chance: Chance): Promise<void> {
    const { isModern, pace, server } = this.#world;
    const { listeners } = server;
    const watched = listeners?.interrupt(chance);
    const isInterrupted = watched !== undefined || (!isModern && server.interrupt(chance));
    if (!isInterrupted) return;
    await pace.quiet();
    if (watched !== undefined) listeners?.change(watched);
    else if (chance.oneIn(2)) server.speak(chance);
    await pace.passTime(chance.one([200, 700, 2_000]));
  }

  async #goDown(chance: Chance): Promise<void> {
    this.judge.count('the server goes down');
    this.#world.server.forget();
    await this.#world.play.host.close(chance.oneIn(2));
  }
}
