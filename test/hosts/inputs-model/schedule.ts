import { createChance } from '../../gateway/model/chance.js';
import { CallerSteps } from './caller-steps.js';
import { Ending } from './ending.js';
import type { Judge } from './judge.js';
import { ServerSteps } from './server-steps.js';
import { World } from './world.js';

/** Stateless callers whose calls need input, and whatever may happen meanwhile: one step for each number. */
export class Schedule {
  readonly judge: Judge;
  readonly #world: World;
  readonly #callers: CallerSteps;
  readonly #servers: ServerSteps;
  readonly #ending: Ending;

  constructor(setting: number) {
    this.#world = new World(createChance(setting));
    this.judge = this.#world.judge;
    this.#callers = new CallerSteps(this.#world);
    this.#servers = new ServerSteps(this.#world);
    this.#ending = new Ending(this.#world, this.#callers, this.#servers, createChance(setting + 1));
  }

  async step(number: number): Promise<void> {
    const world = this.#world;
    const chance = createChance(number);
    const callers = this.#callers;
    const servers = this.#servers;
    await chance.weigh<() => unknown>([
      [30, () => world.pause()],
      [14, () => callers.call(chance)],
      [22, () => callers.comeBack(chance)],
      [4, () => callers.leave(chance)],
      [14, () => servers.answer(chance)],
      [20, () => servers.ask(chance)],
      [6, () => servers.progress(chance)],
      [3, () => servers.withdraw(chance)],
      [1, () => servers.die(chance)],
      [1, () => servers.operate(chance)],
      [3, () => world.passTime(chance.one([100, 6_000, 61_000, 130_000, 599_000, 601_000]))],
    ])();
    chance.oneIn(2) && (await world.pause());
  }

  async finish(): Promise<void> {
    await this.#ending.finish();
  }
}
