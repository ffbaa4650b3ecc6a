import type { ScriptedInstance } from '../../endpoint/scripted-server.js';
import { CallerSteps } from './caller-steps.js';
import { type Chance, createChance } from './chance.js';
import { Ending } from './ending.js';
import type { Judge } from './judge.js';
import { isThere, type Member } from './members.js';
import { Operations } from './operations.js';
import { ServerSteps } from './server-steps.js';
import { TaskSteps } from './tasks.js';
import { World } from './world.js';

const mostMembers = 8;

/**
 * A whole gateway, with callers and servers of all kinds, and whatever may happen between them: one step for each number.
 * Every payload says for whom it is, so that whoever gets it can tell whether it is his.
 */
export class Schedule {
  readonly judge: Judge;
  readonly #world: World;
  readonly #callers: CallerSteps;
  readonly #server: ServerSteps;
  readonly #operations: Operations;
  readonly #tasks: TaskSteps;
  readonly #ending: Ending;
  readonly #closesEarly: boolean;
  readonly #leavesFirst: boolean;

  constructor(setting: number) {
    const chance = createChance(setting);
    this.#closesEarly = chance.oneIn(3);
    this.#leavesFirst = chance.oneIn(2);
    const world = new World(chance);
    this.#world = world;
    this.judge = world.judge;
    this.#callers = new CallerSteps(world);
    this.#server = new ServerSteps(world);
    this.#operations = new Operations(world);
    this.#tasks = new TaskSteps(world);
    this.#ending = new Ending(world, this.#callers, this.#server, this.#operations, this.#tasks);
    for (let count = 0; count < 4; count += 1) {
      this.#callers.join(chance);
    }
  }

  async step(number: number): Promise<void> {
    const world = this.#world;
    const chance = createChance(number);
    const member = chance.pick(world.members.filter(isThere));
    const instance = chance.pick(world.entries.servers.flatMap(({ live }) => live));
    const callers = this.#callers;
    const server = this.#server;
    if (world.isAboutTasks && !chance.oneIn(5)) {
      await this.#taskStep(chance, member);
      return this.#taskStep(chance, chance.pick(world.members.filter(isThere)));
    }
    const by = (run: (member: Member) => void) => () => member && run(member);
    const at = (run: (instance: ScriptedInstance) => void) => () => instance && run(instance);
    await chance.weigh<() => unknown>([
      [24, () => world.pause()],
      [28, by((who) => callers.call(who, chance))],
      [5, by((who) => callers.cancel(who, chance))],
      [3, by((who) => callers.ask(who, chance))],
      [4, by((who) => callers.subscribe(who, chance))],
      [2, by((who) => callers.unsubscribe(who, chance))],
      [8, () => callers.aboutTask(chance)],
      [9, by((who) => callers.respond(who, chance))],
      [2, by((who) => callers.saySomethingOdd(who, chance))],
      [2, by((who) => callers.setLevel(who, chance))],
      [1, by((who) => callers.changeRoots(who))],
      [1, by((who) => callers.leave(who))],
      [2, () => void (world.members.length < mostMembers && callers.join(chance))],
      [16, () => server.answer(chance)],
      [3, () => server.repeatAnswer(chance)],
      [2, at((which) => server.saySomethingOdd(which, chance))],
      [6, () => server.progress(chance)],
      [6, at((which) => server.log(which, chance))],
      [7, at((which) => server.question(which, chance))],
      [2, at((which) => server.withdraw(which, chance))],
      [4, at((which) => server.update(which, chance))],
      [1, at((which) => which.notify(`notifications/${chance.one(['tools', 'resources'])}/list_changed`))],
      [6, () => this.#tasks.goOn(chance)],
      [3, at((which) => server.die(which))],
      [4, at((which) => world.judge.healths.change(chance.pick(world.servers.held)?.instance ?? which, chance))],
      [3, () => world.judge.healths.answer()],
      [3, () => server.prepareOpen(chance)],
      [3, () => world.openDoors()],
      [3, () => this.#operations.reload(chance)],
      [2, () => this.#operations.operate(chance)],
      [1, () => this.#operations.refuse(chance)],
      [1, () => this.#operations.inspect(chance)],
      [3, () => world.passTime(chance.one([100, 1_000, 6_000, 16_000, 31_000, 130_000]))],
    ])();
  }

  async #taskStep(chance: Chance, member: Member | undefined): Promise<void> {
    const asked = chance.pick(this.#world.members.filter((each) => isThere(each) && each.asked.length > 0));
    await chance.weigh<() => unknown>([
      [5, () => this.#world.pause()],
      [5, () => member && this.#callers.call(member, chance)],
      [1, () => member && this.#callers.cancel(member, chance)],
      [4, () => asked && this.#callers.respond(asked, chance)],
      [7, () => this.#callers.aboutTask(chance)],
      [6, () => this.#server.answer(chance)],
      [4, () => this.#tasks.goOn(chance)],
      [3, () => this.#world.passTime(600)],
    ])();
  }

  /** Lets everything come to its end, looks whether it is as it should be, and closes. */
  async finish(): Promise<void> {
    if (!this.#closesEarly) {
      await this.#ending.finish();
      this.#leavesFirst && (await this.#ending.everybodyLeaves());
    }
    await this.#ending.close();
  }
}
