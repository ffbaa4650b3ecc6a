import { queryObjects } from 'node:v8';
import { ModernCall } from '../../../src/endpoint/modern/modern-call.js';
import type { Chance } from '../../gateway/model/chance.js';
import type { CallerSteps } from './caller-steps.js';
import type { ServerSteps } from './server-steps.js';
import type { World } from './world.js';

/** Lets everything come to its end, looks whether it is as it should be, and closes. */
export class Ending {
  readonly #world: World;
  readonly #callers: CallerSteps;
  readonly #servers: ServerSteps;
  readonly #chance: Chance;

  constructor(world: World, callers: CallerSteps, servers: ServerSteps, chance: Chance) {
    this.#world = world;
    this.#callers = callers;
    this.#servers = servers;
    this.#chance = chance;
  }

  async finish(): Promise<void> {
    await this.#world.pause();
    if (this.#chance.oneIn(2)) {
      await this.#settle();
      await this.#forgotten();
    }
    await this.#close();
  }

  /** Callers come back, and servers answer. */
  async #settle(): Promise<void> {
    const { judge } = this.#world;
    for (let round = 0; round < 6; round += 1) {
      for (const { state } of judge.openLegs) {
        state && this.#callers.answer(state, this.#chance);
      }
      await this.#world.pause();
      for (const leg of judge.openLegs) {
        leg.at && !leg.at.instance.closed && leg.answer === undefined && this.#servers.complete(leg);
      }
      await this.#world.passTime(16_000);
    }
    for (const { number, isOver } of judge.exchanges) {
      isOver || judge.problem(`${number} waits for ever`);
    }
    for (const leg of judge.legs.values()) {
      judge.checkToldOff(leg);
    }
    for (const question of judge.questions.open) {
      judge.questions.isUnsure(question) || judge.problem(`question ${question.number} waits for ever`);
    }
    if (this.#chance.oneIn(8) && judge.unsureLegs.length === 0) {
      // Why they are aborted remembers who was at work.
      judge.signals.clear();
      const kept = await this.#keptCalls();
      judge.count('memory');
      kept > 0 && judge.problem(`${kept} calls are kept that are over`);
    }
  }

  /** What goes with the last of its promises, and what a look at it has begun to let go, may take a turn. */
  async #keptCalls(): Promise<number> {
    let kept = Number(queryObjects(ModernCall, { format: 'count' }));
    for (let times = 0; times < 3 && kept > 0; times += 1) {
      await new Promise<void>((resolve) => setTimeout(resolve, 1));
      kept = Number(queryObjects(ModernCall, { format: 'count' }));
    }
    return kept;
  }

  /** Longer than a round of input is held, callers are remembered after that, and their servers idle. */
  async #forgotten(): Promise<void> {
    const { clock, judge, servers, gateway } = this.#world;
    await this.#world.passTime(130_000);
    const isUnsure = judge.unsureLegs.length > 0;
    if (!isUnsure && servers.live.length > 0) {
      judge.problem(`nobody waits for ${servers.live.map(({ context }) => context.server)}, and they run`);
    }
    for (let round = 1; round < 9; round += 1) {
      await this.#world.passTime(130_000);
    }
    const inFlight = gateway.status().reduce((sum, each) => sum + each.inFlight, 0);
    const left = { timers: clock.waiting, instances: servers.live.length, inFlight };
    if (Object.values(left).some((count) => count > 0)) {
      judge.problem(`all is over, but there are ${JSON.stringify(left)}`);
    }
  }

  async #close(): Promise<void> {
    const { clock, gateway, judge, servers } = this.#world;
    const graceMs = this.#chance.one([0, 5_000]);
    judge.log('the gateway closes');
    judge.isClosing = true;
    let isDone = false;
    gateway.close({ graceMs }).then(
      () => {
        isDone = true;
      },
      (error: unknown) => judge.problem(`close failed: ${String(error)}`),
    );
    for (let round = 0; round < 5; round += 1) {
      this.#servers.answer(this.#chance);
      this.#callers.comeBack(this.#chance);
      this.#callers.call(this.#chance);
      await this.#world.passTime(3_000);
    }
    isDone || judge.problem('close does not end');
    for (const { number, isOver } of judge.exchanges) {
      isOver || judge.problem(`${number} still waits when all is closed`);
    }
    const inFlight = gateway.status().reduce((sum, each) => sum + each.inFlight, 0);
    const left = { timers: clock.waiting, instances: servers.live.length, inFlight };
    if (Object.values(left).some((count) => count > 0)) {
      judge.problem(`all is closed, but there are ${JSON.stringify(left)}`);
    }
  }
}
