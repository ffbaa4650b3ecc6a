import { setTimeout as sleep } from 'node:timers/promises';
import { createGateway, type Gateway, LocalProcessRuntime } from '../../../src/index.js';
import { type Chance, createChance } from '../../gateway/model/chance.js';
import type { PlayedSchedule } from '../../support/play-schedules.js';
import { CallJudge, isWaiting } from './calls.js';
import { checkLeftovers, type Survivors } from './leftovers.js';
import { Lives, mostBytes, secret } from './lives.js';
import { Member } from './members.js';
import { choosePadding, choosePlan, chooseProgram } from './programs.js';
import { blockHost, signalServer } from './signals.js';

const mostMembers = 6;
/** Far longer than anything takes. */
const patienceMs = 120_000;

/** A gateway with callers of a server whose processes misbehave: one step for each number. */
export class GatewaySchedule implements PlayedSchedule {
  readonly judge = new CallJudge();
  readonly #lives = new Lives();
  readonly #chance: Chance;
  readonly #era: 'legacy' | 'modern' | 'both';
  readonly #shares: boolean;
  readonly #survivors: Survivors;
  readonly #plans: readonly string[];
  readonly #members: Member[] = [];
  readonly #underWay = new Map<Promise<unknown>, string>();
  readonly #gateway: Gateway;
  #generation = 0;

  constructor(setting: number, survivors: Survivors) {
    this.#survivors = survivors;
    this.#chance = createChance(setting);
    const chance = this.#chance;
    this.#era = chance.one(['legacy', 'legacy', 'modern', 'both']);
    this.#shares = chance.oneIn(3);
    this.#plans = Array.from({ length: chance.one([1, 3, 5]) }, () => choosePlan(chance));
    this.judge.log(`${this.#era}, ${this.#shares ? 'shared' : 'by caller'}, ${this.#plans.join(', ')}`);
    this.#gateway = createGateway(this.#catalog(this.#plans, '1s'), {
      runtimes: [new LocalProcessRuntime({ guardian: chance.oneIn(2) })],
      env: { SECRET_VALUE: secret },
      onEvent: (event) => {
        const text = JSON.stringify(event);
        this.judge.keepsSecrets('an event', text);
        if ('message' in event) this.judge.keepsTerminals('an event', event.message);
        this.judge.log(text.slice(0, 300));
      },
    });
    for (let count = 0; count < 2; count += 1) this.#join(chance);
  }

  async step(number: number): Promise<void> {
    const gateway = this.#gateway;
    const chance = createChance(number);
    const member = chance.pick(this.#members.filter(({ isThere }) => isThere));
    const graceMs = chance.one([0, 20, 200]);
    const run = chance.weigh<() => unknown>([
      [20, () => sleep(chance.one([0, 1, 5, 20, 50]))],
      [12, () => this.#settles()],
      [44, () => member?.call(this.judge.next(), chooseProgram(chance, 1), choosePadding(chance))],
      [2, () => member && this.#callMany(member, chance)],
      [4, () => this.#cancel(chance)],
      [8, () => this.#join(chance)],
      [1, () => member && this.#follow('leave', member.leave())],
      [2, () => this.#signal(chance)],
      [2, () => blockHost(chance)],
      [1, () => this.#follow('start', gateway.start('model'))],
      [1, () => this.#follow('restart', gateway.restart('model', { graceMs }))],
      [1, () => this.#follow('stop', gateway.stop('model', { graceMs }))],
      [1, () => this.#follow('reload', gateway.reload(this.#catalog(this.#plans, '1s'), { graceMs }))],
    ]);
    await run();
  }

  async finish(): Promise<void> {
    const chance = this.#chance;
    if (chance.oneIn(2)) await this.#useEverything();
    this.#checkStatus();
    this.judge.log('the gateway closes');
    const closing = this.#gateway.close({ graceMs: chance.one([0, 100]) }).catch((error: unknown) => {
      this.judge.problem(`close() rejected with ${String(error)}`);
    });
    await this.judge.within('close()', closing, patienceMs);
    this.judge.checkAnswered('though the gateway is closed');
    await this.judge.within('all that was under way', Promise.all(this.#underWay.keys()), patienceMs);
    for (const { name, closes } of this.#members)
      if (closes !== 1) this.judge.problem(`${name} was told ${closes} times that it is closed`);
    const lives = this.#lives.read();
    this.judge.checkTruth([...lives.values()]);
    checkLeftovers(this.#lives, lives, this.judge, this.#survivors);
    this.#lives[Symbol.dispose]();
  }

  /** Servers do what they should from now on: everybody can call, and is answered. */
  async #useEverything(): Promise<void> {
    const { judge } = this;
    judge.log('the servers do what they should');
    const reload = this.#gateway.reload(this.#catalog(['kind|'], '60s'), { graceMs: 0 });
    await judge.within('reload()', reload, patienceMs);
    for (const isMerged of [true, false]) this.#join(this.#chance, isMerged, true);
    const ready = Promise.all(this.#underWay.keys());
    await judge.within('all that is under way', ready, patienceMs);
    const calls = this.#members
      .filter(({ isThere }) => isThere)
      .map((member) => member.call(judge.next(), 'reply', ''));
    const fresh = this.#members.slice(-2);
    if (fresh.some(({ isThere }) => !isThere)) judge.problem('nobody can join when all is quiet');
    const isAnswered = () => ![...judge.calls.values()].some(isWaiting);
    for (let turn = 0; turn < 1_000 && !isAnswered(); turn += 1) await sleep(20);
    judge.checkAnswered('when all is quiet');
    for (const { number, member, outcome } of calls) {
      if (fresh.includes(member) && outcome !== 'result')
        judge.problem(`${member.name} cannot make call ${number}: ${outcome}`);
    }
    const { inFlight } = this.#gateway.status('model');
    if (inFlight > 0) judge.problem(`${inFlight} calls are in flight, and all are answered`);
    judge.count('all is used');
  }

  #checkStatus(): void {
    const { lastExit, lastError } = this.#gateway.status('model');
    this.judge.keepsSecrets('the status', { lastExit, lastError });
    this.judge.keepsTerminals('the status', `${lastExit?.stderrTail} ${lastError?.message}`);
  }

  #catalog(plans: readonly string[], timeout: string) {
    this.#generation += 1;
    const chance = createChance(this.#generation);
    const { command, args } = this.#lives.command(this.#era, plans);
    const stop_timeout = { stdin: chance.one(['100ms', '0']), sigterm: chance.one(['100ms', '0']), sigkill: '20s' };
    return {
      servers: [
        {
          id: 'model',
          isolation: this.#shares ? 'shared' : 'caller',
          protocol: chance.one(['auto', this.#era === 'both' ? 'auto' : this.#era]),
          start_timeout: timeout,
          request_timeout: timeout,
          max_message: `${mostBytes / 1024}KiB`,
          restart: { max: 1_000_000, backoff: '1ms', max_backoff: '2ms' },
          env: { ...this.#lives.env, SECRET: '${SECRET_VALUE}', GENERATION: String(this.#generation) },
          runtime: { type: 'local-process', command, args, stop_timeout },
        },
      ],
    } as never;
  }

  #join(chance: Chance, isMerged = chance.oneIn(2), hasToJoin = false): void {
    if (!hasToJoin && this.#members.filter(({ isThere }) => isThere).length >= mostMembers) return;
    const asksForEra = !isMerged && chance.oneIn(3);
    const era = isMerged || asksForEra || this.#era === 'both' ? chance.one(['legacy', 'modern'] as const) : this.#era;
    const { judge } = this;
    const member = new Member(this.#members.length, { gateway: this.#gateway, judge, isMerged, era, asksForEra });
    this.#members.push(member);
    this.#follow('join', member.join());
  }

  #callMany(member: Member, chance: Chance): void {
    for (let count = chance.one([2, 10, 40]); count > 0; count -= 1)
      member.call(this.judge.next(), chooseProgram(chance, 0), count % 5 === 0 ? choosePadding(chance) : '');
  }

  #cancel(chance: Chance): void {
    const call = chance.pick([...this.judge.calls.values()].filter((one) => isWaiting(one) && one.member.isThere));
    call?.member.cancel(call);
  }

  #signal(chance: Chance): void {
    const pids = this.#gateway.status('model').instances.flatMap(({ pid }) => (pid == null ? [] : [pid]));
    const pid = chance.pick(pids);
    if (pid !== undefined) signalServer(pid, chance, this.judge);
  }

  /** Goes on when some call is answered, or soon. */
  async #settles(): Promise<void> {
    const waiting = [...this.judge.calls.values()].filter(isWaiting).length;
    const isBetter = () => [...this.judge.calls.values()].filter(isWaiting).length < waiting;
    for (let turn = 0; turn < 20 && !isBetter(); turn += 1) await sleep(5);
  }

  #follow(what: string, promise: Promise<unknown>): void {
    this.judge.count(what);
    const done = promise
      .catch((error: unknown) => {
        this.judge.log(`${what} failed: ${String(error).slice(0, 200)}`);
        this.judge.keepsSecrets(`${what}, which failed,`, error);
      })
      .finally(() => this.#underWay.delete(done));
    this.#underWay.set(done, what);
  }
}
