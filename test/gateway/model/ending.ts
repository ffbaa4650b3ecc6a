import type { Json, ScriptedInstance } from '../../endpoint/scripted-server.js';
import type { CallerSteps } from './caller-steps.js';
import { mostMebibytes } from './host.js';
import { groupOf, isThere, type Member } from './members.js';
import type { Operations } from './operations.js';
import type { ServerSteps } from './server-steps.js';
import { tools, uriOf } from './servers.js';
import type { TaskSteps } from './tasks.js';
import type { World } from './world.js';

const graceMs = 30_000;

/** Lets everything come to its end, and looks whether it is as it should be. */
export class Ending {
  readonly #world: World;
  readonly #callers: CallerSteps;
  readonly #server: ServerSteps;
  readonly #operations: Operations;
  readonly #tasks: TaskSteps;

  constructor(world: World, callers: CallerSteps, server: ServerSteps, operations: Operations, tasks: TaskSteps) {
    this.#tasks = tasks;
    this.#world = world;
    this.#callers = callers;
    this.#server = server;
    this.#operations = operations;
  }

  async finish(): Promise<void> {
    this.#world.nextOpen = 'at once';
    for (const id of this.#world.host.refused.keys()) {
      this.#world.host.refuse(id);
    }
    for (let round = 0; round < 5; round += 1) {
      await this.#world.pause();
      this.#world.openDoors();
      for (const member of this.#world.members.filter(isThere)) {
        for (const asked of [...member.asked]) {
          this.#callers.respondTo(member, asked);
        }
      }
      await this.#world.pause();
      this.#world.judge.healths.answer();
      // Not before what they have asked is answered.
      round > 0 && this.#tasks.endAll();
      for (const held of this.#world.servers.held.splice(0)) {
        held.instance.closed || this.#server.say(held, this.#world.complete(held));
      }
      await this.#world.pause();
      round === 0 && (await this.#tasks.check());
      round === 0 && (await this.#tasks.playOut(this.#callers));
      await this.#world.passTime(graceMs);
    }
    this.#world.judge.checkQuestions(true);
    this.checkAnswered();
    this.#world.judge.checkCancellations(this.#world.entries.servers.flatMap(({ instances }) => instances));
    this.#world.judge.tasks.checkEnds(this.#world.entries.servers.flatMap(({ instances }) => instances));
    for (const what of this.#operations.underWay) {
      this.#world.judge.problem(`${what} does not end`);
    }
    await this.useEverything();
    this.#world.judge.levels.check();
    this.#world.judge.healths.check();
    this.#world.host.lookWhenQuiet(this.#world.gateway, this.#world.entries);
    await this.checkRoots();
    await this.checkUpdates();
    this.#world.judge.healths.answer();
    await this.#world.pause();
    for (const { id, inFlight } of this.#world.gateway.status()) {
      if (inFlight !== 0 && !this.#world.judge.healths.isSilent(id)) {
        this.#world.judge.problem(`${inFlight} requests to ${id} are in flight, and all are answered`);
      }
    }
  }

  /** Every caller can call every server, and sees what that has. */
  async useEverything(): Promise<void> {
    const checks: (() => void)[] = [];
    const stale = this.#world.gateway.status().filter((status) => status.stale);
    const kept = new Set(stale.map(({ id }) => id));
    const peers = this.#world.members.filter((member) => isThere(member) && member.to === undefined);
    for (const member of peers) {
      for (const { id } of this.#world.entries.visible(member.seen)) {
        const sent = this.#world.call(member, id, 'now', 'pass', undefined);
        checks.push(() => {
          // A client over HTTP may have been forgotten meanwhile, or name a server that is no longer there.
          const isForgotten = [400, 404].includes(sent.error?.code as number) || sent.cancelled;
          // What meets the end of a server that was kept may say so.
          const isEnding = kept.has(id) && (sent.error?.data as Json | undefined)?.delivered === false;
          const code = (sent.error?.data as Json | undefined)?.code;
          const isLimited = this.#world.host.limits !== undefined && code === 'LIMIT_REACHED';
          // One of them tries it then, and the others are told at once.
          const isLooping = code === 'CRASH_LOOP';
          if (sent.result === undefined && !isForgotten && !isEnding && !isLimited && !isLooping) {
            const why = sent.answers === 0 ? 'no answer' : JSON.stringify(sent.error);
            this.#world.judge.problem(`${this.#world.judge.who(member)} cannot call ${id} when all is quiet: ${why}`);
          }
        });
      }
    }
    await this.#world.passTime(10);
    await this.#world.passTime(10);
    // Who finds no room waits, until others idle or for as long as a start may take.
    this.#world.host.limits && (await this.#world.passTime(70_000));
    for (const member of peers) {
      const sent = this.#world.request(member, 'tools/list', {}, {});
      const expected = this.#world.entries
        .visible(member.seen)
        .flatMap(({ id, generation, deny }) =>
          [...tools, `v${generation.number}`].filter((name) => !deny.includes(name)).map((name) => `${id}__${name}`),
        );
      const still = this.#world.gateway.status().filter((status) => status.stale);
      const isSure = (name: string) => !still.some(({ id }) => name.startsWith(`${id}__v`));
      checks.push(() => {
        const listed = (sent.result?.tools ?? []) as { name: string }[];
        const seen = listed.map(({ name }) => name).filter(isSure);
        if (
          sent.result !== undefined &&
          this.#world.host.limits === undefined &&
          String(seen.sort()) !== String(expected.filter(isSure).sort())
        ) {
          this.#world.judge.problem(`${this.#world.judge.who(member)} sees ${seen}, not ${expected}`);
        }
      });
    }
    await this.#world.passTime(this.#world.host.limits ? 10_010 : 10);
    for (const check of checks) {
      check();
    }
    this.checkAnswered();
  }

  async checkRoots(): Promise<void> {
    const members = this.#world.members.filter(
      (member) => isThere(member) && member.isReady && member.era === 'legacy',
    );
    const said = members.map((member) => ({ member, number: this.#callers.changeRoots(member) }));
    await this.#world.pause();
    for (const { member, number } of said) {
      this.#world.judge.roots.checkHeard(member, number);
    }
  }

  /** Each connection hears of what it is subscribed to, once. */
  async checkUpdates(): Promise<void> {
    for (const id of this.#world.entries.ids) {
      const { server, generation } = this.#world.entries.of(id);
      for (const number of [1, 2]) {
        const uri = uriOf(id, number);
        for (const instance of server.live) {
          await this.updateAndCheck(instance, uri);
        }
        const status = this.#world.gateway.status(id);
        for (const member of this.#world.members.filter(isThere)) {
          const group = groupOf(member, generation.isolation);
          const own = server.live.filter((instance) => this.#world.judge.ownersOf(instance) === group);
          const isSubscribed = member.subscriptions.get(uri) === 'made' && generation.isolation !== 'request';
          const sees = member.to === id || this.#world.entries.visible(member.seen).some((entry) => entry.id === id);
          // A session over HTTP may have ended meanwhile.
          const isRaw = member.to !== undefined || member.kind === 'fetch';
          if (
            isSubscribed &&
            sees &&
            !isRaw &&
            !status.stale &&
            this.#world.host.limits === undefined &&
            own.length > 0 &&
            !own.some((each) => this.#world.servers.knows(each, uri))
          ) {
            this.#world.judge.problem(
              `${this.#world.judge.who(member)} is subscribed to ${uri}, of which ${own.map((each) => this.#world.judge.name(each))} does not know`,
            );
          }
        }
      }
    }
  }

  async updateAndCheck(instance: ScriptedInstance, uri: string): Promise<void> {
    const number = this.#world.number();
    const times = new Map<Member, number>();
    this.#world.judge.updates.set(number, times);
    const isKnown = this.#world.servers.knows(instance, uri);
    this.#world.judge.log(`update ${number} of ${uri} at ${this.#world.judge.name(instance)}`);
    this.#world.servers.update(instance, uri, number);
    await this.#world.pause();
    const { isolation } = this.#world.servers.memory(instance).generation;
    for (const member of this.#world.members.filter(isThere)) {
      const isOwn = groupOf(member, isolation) === this.#world.judge.ownersOf(instance);
      const state = member.subscriptions.get(uri);
      const sees = this.#world.entries.visible(member.seen).some(({ id }) => id === instance.context.server);
      const count = times.get(member) ?? 0;
      if (count > 1) {
        this.#world.judge.problem(
          `${this.#world.judge.who(member)} hears ${count} times of update ${number} of ${uri}`,
        );
      }
      if (
        isKnown &&
        isOwn &&
        state === 'made' &&
        count === 0 &&
        member.to === undefined &&
        sees &&
        member.kind !== 'fetch' &&
        !this.#world.gateway.status(instance.context.server).stale
      ) {
        this.#world.judge.problem(`${this.#world.judge.who(member)} does not hear of update ${number} of ${uri}`);
      }
    }
  }

  async everybodyLeaves(): Promise<void> {
    for (const member of this.#world.members.filter(isThere)) {
      this.#callers.leave(member);
    }
    // Longer than callers of `fetch` are remembered, servers may idle, and calls may wait for input.
    for (let round = 0; round < 8; round += 1) {
      await this.#world.passTime(120_000);
    }
    const live = this.#world.entries.servers.flatMap((server) => server.live);
    if (live.length > 0) {
      this.#world.judge.problem(`nobody is left, but ${live.map((instance) => this.#world.judge.name(instance))}`);
    } else if (this.#world.clock.waiting > 0) {
      this.#world.judge.problem(`nobody and nothing is left, but ${this.#world.clock.waiting} timers`);
    }
    await this.checkRoom();
  }

  /** Nobody holds a place any more: as many servers as may run at once can be started. */
  async checkRoom(): Promise<void> {
    const { gateway, entries, host, judge } = this.#world;
    const ids = entries.visible({}).map(({ id }) => id);
    let mebibytes = 0;
    const fits = ids.filter((id) => {
      const needed = entries.of(id).mebibytes ?? 0;
      const isRoom = host.limits?.memory === undefined || mebibytes + needed <= mostMebibytes;
      mebibytes += isRoom ? needed : 0;
      return isRoom;
    });
    const missing = new Set(fits.slice(0, host.limits?.instances));
    for (const id of missing) {
      gateway.start(id).then(
        () => missing.delete(id),
        (error: unknown) => judge.log(`${id} cannot start: ${String(error)}`),
      );
    }
    await this.#world.passTime(10);
    if (missing.size > 0) {
      judge.problem(`nobody is left, and ${[...missing]} cannot be started`);
    }
  }

  async close(): Promise<void> {
    this.#world.judge.log('the gateway closes');
    this.#world.judge.causes.begin('closing');
    this.#world.openDoors();
    const closing = this.#world.gateway.close({ graceMs: this.#world.number() % 2 === 0 ? 0 : 5_000 });
    let isDone = false;
    const done = closing.then(
      () => {
        isDone = true;
      },
      (error: unknown) => this.#world.judge.problem(`close failed: ${String(error)}`),
    );
    for (let round = 0; round < 4 && !isDone; round += 1) {
      this.#world.openDoors();
      await this.#world.clock.advance(graceMs);
    }
    if (!isDone) {
      return this.#world.judge.problem('close does not end');
    }
    await done;
    await this.#world.pause();
    this.checkAnswered();
    this.#world.host.checkEnds();
    const all = this.#world.entries.servers.flatMap(({ instances }) => instances);
    this.#world.judge.roots.check(all);
    this.#world.judge.checkAnswered(all);
    const live = this.#world.entries.servers.flatMap((server) => server.live);
    if (live.length > 0) {
      this.#world.judge.problem(`left after close: ${live.map((instance) => this.#world.judge.name(instance))}`);
    }
    if (this.#world.clock.waiting > 0) {
      this.#world.judge.problem(`${this.#world.clock.waiting} timers are left after close`);
    }
    for (const member of this.#world.members) {
      if (member.hasStarted && member.closes !== 1) {
        this.#world.judge.problem(`${this.#world.judge.who(member)} was told ${member.closes} times that it is closed`);
      }
    }
    for (const what of this.#operations.underWay) {
      this.#world.judge.problem(`${what} does not end, even with the gateway`);
    }
  }

  /** In the middle of it what waits is only what nobody has answered; at the end nothing is. */
  checkAnswered(): void {
    this.#world.judge.checkAnswers();
  }
}
