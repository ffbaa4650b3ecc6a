import type { ScriptedInstance } from '../../endpoint/scripted-server.js';
import { type Chance, createChance } from '../../gateway/model/chance.js';
import { ClientSteps, hasBegun, isReady } from './client-steps.js';
import { type Client, type Exchange, groupOf } from './clients.js';
import { Ending } from './ending.js';
import { hostKinds } from './hosts.js';
import type { Judge } from './judge.js';
import { sendOdd } from './odd-requests.js';
import { ServerSteps } from './server-steps.js';
import { World } from './world.js';

const mostClients = 8;

/** A host of some kind with clients over HTTP and servers behind it, and whatever may happen: one step for each number. */
export class Schedule {
  readonly judge: Judge;
  readonly #world: World;
  readonly #clients: ClientSteps;
  readonly #servers: ServerSteps;
  readonly #ending: Ending;

  static async open(setting: number): Promise<Schedule> {
    const chance = createChance(setting);
    const kind = chance.weigh(hostKinds.map((each) => [each.startsWith('SDK') ? 1 : 3, each] as const));
    const schedule = new Schedule(await World.open(kind, chance), setting);
    for (let count = 0; count < 3; count += 1) {
      await schedule.#clients.join(chance);
    }
    return schedule;
  }

  private constructor(world: World, setting: number) {
    this.judge = world.judge;
    this.#world = world;
    this.#clients = new ClientSteps(world);
    this.#servers = new ServerSteps(world);
    this.#ending = new Ending(world, this.#clients, createChance(setting + 1));
  }

  async step(number: number): Promise<void> {
    const world = this.#world;
    const chance = createChance(number);
    const isLate = chance.oneIn(20);
    const ready = chance.pick(world.clients.filter((client) => hasBegun(client) && client.hasEnded === isLate));
    const own = chance.pick(world.servers.servers.own.live);
    const clients = this.#clients;
    const servers = this.#servers;
    const by = (run: (client: Client) => void) => () => ready && run(ready);
    const say = (exchange: Exchange) => servers.sayIn(exchange, chance);
    const at = (run: (instance: ScriptedInstance) => void) => () => own && run(own);
    await chance.weigh<() => unknown>([
      [20, () => world.pause()],
      [24, by((client) => clients.call(client, chance))],
      [3, by((client) => clients.batch(client, chance))],
      [3, by((client) => clients.ask(client, chance))],
      [5, by((client) => clients.cancel(client, chance))],
      [5, by((client) => clients.hangUp(client, chance, say))],
      [4, by((client) => clients.listen(client, chance))],
      [8, by((client) => clients.resume(client, chance, say))],
      [3, by((client) => clients.upload(client, chance))],
      [4, () => clients.goOn(chance)],
      [3, by((client) => clients.read(client, chance))],
      [8, by((client) => clients.respond(client, chance))],
      [10, by((client) => sendOdd(world, client, chance))],
      [1, by((client) => clients.end(client))],
      [2, () => (world.clients.length < mostClients ? clients.join(chance) : undefined)],
      [18, () => servers.answer(chance)],
      [8, () => servers.progress(chance)],
      [4, at((instance) => servers.log(instance, chance.oneIn(4) ? 300_000 : 0))],
      [6, at((instance) => servers.question(instance, chance))],
      [2, at((instance) => this.#askBeforeItListens(instance, chance))],
      [1, () => servers.withdraw(chance)],
      [1, at((instance) => (chance.oneIn(6) ? servers.flood(instance) : undefined))],
      [1, () => servers.swell(chance)],
      [1, () => chance.pick(world.servers.live)?.notify('notifications/tools/list_changed')],
      [1, at((instance) => servers.die(chance.pick(world.servers.live) ?? instance))],
      [3, () => servers.hold(chance)],
      [4, () => servers.goOn()],
      [1, () => servers.reload()],
      [3, () => world.passTime(chance.one([100, 6_000, 16_000, 31_000, 130_000, 310_000]))],
    ])();
  }

  async #askBeforeItListens(instance: ScriptedInstance, chance: Chance): Promise<void> {
    const owner = this.judge.ownerOf(instance);
    const client = chance.pick(this.#world.clients.filter((each) => isReady(each) && groupOf(each) === owner));
    this.#servers.question(instance, chance);
    await this.#world.pause();
    client?.era === 'legacy' && this.#clients.listen(client, chance);
    await this.#world.pause();
  }

  /** Lets everything come to its end, looks whether it is as it should be, and closes. */
  async finish(): Promise<void> {
    await this.#ending.finish();
  }
}
