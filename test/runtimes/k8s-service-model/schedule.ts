import { createGateway, type Gateway, K8sServiceRuntime } from '../../../src/index.js';
// What is loaded on demand is there: time goes too fast to wait for it.
import '../../../src/runtimes/k8s-service/k8s-service-servers.js';
import type { Clock } from '../../../src/options.js';
import { loadUndici } from '../../../src/transport/http/load.js';
import { type Chance, createChance } from '../../gateway/model/chance.js';
import type { PlayedSchedule } from '../../support/play-schedules.js';
import { fairNow, realSleep } from '../../support/quick-time.js';
import { isWaiting, Judge, secret } from '../remote-sse-model/judge.js';
import { Member } from '../remote-sse-model/members.js';
import { ServiceCluster } from './cluster.js';
import type { Kind } from './pod.js';

const mostMembers = 6;
const mostPods = 4;
/** Far longer than anything takes. */
const guardMs = 20_000;

/** A gateway with callers of a service, whose cluster misbehaves: one step for each number. */
export class Schedule implements PlayedSchedule {
  readonly judge = new Judge();
  readonly #clock: Clock;
  readonly #setting: number;
  readonly #chance: Chance;
  readonly #kind: Kind;
  readonly #reach: 'dns' | 'port-forward';
  readonly #shares: boolean;
  readonly #members: Member[] = [];
  readonly #underWay = new Map<Promise<unknown>, string>();
  #cluster!: ServiceCluster;
  #gateway: Gateway | undefined;
  #calls = 0;
  #generation = 0;
  #isHealed = false;
  #isClosing = false;

  constructor(clock: Clock, setting: number) {
    this.#clock = clock;
    this.#setting = setting;
    this.#chance = createChance(setting);
    this.#kind = this.#chance.one(['sessions', 'sessions', 'no sessions', 'modern'] as const);
    this.#reach = this.#chance.one(['dns', 'port-forward', 'port-forward'] as const);
    this.#shares = this.#chance.oneIn(3);
    this.judge.log(`${this.#kind}, ${this.#reach}, ${this.#shares ? 'shared' : 'by caller'}`);
  }

  async step(number: number): Promise<void> {
    const gateway = await this.#begin();
    const chance = createChance(number);
    const cluster = this.#cluster;
    const member = chance.pick(this.#members.filter(({ isThere }) => isThere));
    const pod = chance.pick(cluster.members);
    await chance.weigh<() => unknown>([
      [30, () => realSleep(chance.one([1, 3, 10, 40]))],
      [26, () => member?.call(this.#nextCall(), chance)],
      [14, () => pod?.server.play.release(chance)],
      [4, () => this.#cancel(chance)],
      [1, () => member && this.#follow('leave', member.leave())],
      [3, () => this.#join(chance)],
      // Most go on when somebody is there.
      [6, () => this.#joinAndWait(chance)],
      [2, () => pod?.server.disturb(chance)],
      [2, () => pod?.server.play.host.closeIdle()],
      [4, () => cluster.members.length < mostPods && this.#follow('pod added', cluster.add())],
      [3, () => pod && this.#setReady(pod.isReady ? chance.oneIn(2) : true, () => cluster.setReady(pod, !pod.isReady))],
      [2, () => pod && this.#follow('pod terminated', cluster.terminate(pod))],
      [2, () => pod && this.#follow('pod killed', cluster.kill(pod))],
      [4, () => cluster.disturbWatches()],
      [2, () => this.#follow('API server restarted', cluster.restart(chance.one([0, 5, 30, 150])))],
      [4, () => this.#worsen(chance.one([0, 10, 30, 60]))],
      [1, () => this.#follow('check', this.#check(gateway))],
      [1, () => this.#follow('restart', gateway.restart('remote', { graceMs: chance.one([0, 500]) }))],
      [1, () => this.#follow('stop', gateway.stop('remote', { graceMs: chance.one([0, 500]) }))],
      [1, () => this.#follow('reload', gateway.reload(this.#catalog(true)))],
    ])();
  }

  async finish(): Promise<void> {
    const gateway = await this.#begin();
    if (this.#chance.oneIn(2)) await this.#settleAll();
    await this.#close(gateway);
  }

  /** All that waits is answered, and somebody new can call. */
  async #settleAll(): Promise<void> {
    const { judge } = this;
    await this.#heal();
    const isDone = () => ![...judge.calls.values()].some(isWaiting) && this.#underWay.size === 0;
    await this.#until(isDone);
    judge.checkAnswered();
    for (const what of this.#underWay.values()) judge.problem(`${what} does not end`);
    await this.#cluster.add();
    for (const isMerged of [true, false]) await this.#newcomer(isMerged);
    const inFlight = () => (this.#gateway as Gateway).status('remote').inFlight;
    await this.#until(() => inFlight() === 0);
    if (inFlight() > 0) judge.problem(`${inFlight()} calls are in flight, and all are answered`);
  }

  async #newcomer(isMerged: boolean): Promise<void> {
    const end = fairNow() + guardMs;
    while (fairNow() < end) {
      await this.#join(this.#chance, isMerged);
      await this.#until(() => this.#underWay.size === 0);
      const member = this.#members.at(-1) as Member;
      const call = member.isThere ? member.call(this.#nextCall(), this.#chance) : undefined;
      if (call !== undefined) await this.#until(() => !isWaiting(call));
      if (call?.executed === 1) return;
      await realSleep(100);
    }
    this.judge.problem(`a newcomer (${isMerged ? 'merged' : 'raw'}) cannot call when all is well`);
  }

  async #heal(): Promise<void> {
    this.judge.log('everything does what it should');
    this.#isHealed = true;
    await this.#cluster.heal();
  }

  async #close(gateway: Gateway): Promise<void> {
    const { judge } = this;
    const cluster = this.#cluster;
    judge.log('the gateway closes');
    this.#isClosing = true;
    const closing = gateway.close({ graceMs: 0 }).catch((error) => judge.problem(`close failed: ${String(error)}`));
    this.#underWay.set(closing, 'close()');
    void closing.finally(() => this.#underWay.delete(closing));
    await this.#until(() => !this.#underWay.has(closing));
    judge.checkAnswered();
    await this.#until(() => this.#underWay.size === 0 && cluster.connections.length === 0 && this.#connections() === 0);
    for (const what of this.#underWay.values()) judge.problem(`${what} does not end, even with the gateway`);
    for (const call of cluster.connections) judge.problem(`a connection to the API server is left: ${call}`);
    if (this.#connections() > 0) judge.problem(`${this.#connections()} connections to pods are left`);
    // What was to come later, comes.
    const { asked } = cluster;
    await realSleep(30);
    if (cluster.asked > asked) judge.problem('the API server is asked after close()');
    for (const member of this.#members) {
      if (member.closes !== 1) judge.problem(`${member.name} was told ${member.closes} times that it is closed`);
    }
    await this.#heal();
    await cluster[Symbol.asyncDispose]();
  }

  #connections(): number {
    return this.#cluster.pods.reduce((sum, { server }) => sum + server.play.host.connections, 0);
  }

  async #begin(): Promise<Gateway> {
    if (this.#gateway === undefined) {
      this.#cluster = await ServiceCluster.open(this.#chance, this.judge, this.#setting, this.#kind);
      await Promise.all([this.#cluster.add(), this.#cluster.add(), loadUndici()]);
      this.#cluster.badness = this.#chance.one([0, 10, 30]);
      this.#gateway = createGateway(this.#catalog(false), {
        runtimes: [new K8sServiceRuntime({ kubeconfig: this.#cluster.kubeconfig })],
        clock: this.#clock,
        env: {},
        onEvent: (event) => this.judge.checkSecrets('an event', JSON.stringify(event)),
      });
      for (let count = 0; count < 3; count += 1) this.#join(this.#chance);
    }
    return this.#gateway;
  }

  #catalog(isChanged: boolean) {
    this.#generation += isChanged ? 1 : 0;
    const headers = { authorization: `Bearer ${secret}-token-1`, 'x-generation': String(this.#generation) };
    // By its name: without the API server nobody knows its number, and no DNS is asked.
    const where = { namespace: 'home', service_name: 'orders', port: 'http', reach: this.#reach };
    const runtime = { type: 'k8s-service', ...where, headers, transport: 'streamable-http' };
    const restart = { max: 1_000_000, backoff: '1ms', max_backoff: '2ms' };
    const isolation = this.#shares ? 'shared' : 'caller';
    const limits = { request_timeout: '60s', max_message: '512KiB' };
    return { servers: [{ id: 'remote', isolation, ...limits, restart, runtime }] } as never;
  }

  #nextCall(): number {
    this.#calls += 1;
    return this.#calls;
  }

  #join(chance: Chance, isMerged = chance.oneIn(2)): void {
    if (!this.#isHealed && this.#members.filter(({ isThere }) => isThere).length >= mostMembers) return;
    const isModern = isMerged ? chance.oneIn(3) : this.#kind === 'modern';
    const member = new Member(this.#members.length, {
      gateway: this.#gateway as Gateway,
      judge: this.judge,
      shares: this.#shares,
      isMerged,
      era: isModern ? 'modern' : 'legacy',
    });
    this.#members.push(member);
    this.#follow('start', member.join(chance.one(['2025-11-25', '2025-06-18', '2025-03-26'])));
    // Nobody waits for it any more, perhaps while it goes on.
    if (!this.#isHealed && chance.oneIn(8)) {
      this.#follow(
        'start given up',
        realSleep(chance.below(30)).then(() => member.leave()),
      );
    }
  }

  async #joinAndWait(chance: Chance): Promise<void> {
    this.#join(chance);
    const member = this.#members.at(-1);
    for (let turn = 0; turn < 60 && !member?.isReady && !member?.hasLeft; turn += 1) await realSleep(5);
  }

  #cancel(chance: Chance): void {
    const calls = [...this.judge.calls.values()].filter((call) => isWaiting(call) && call.member.isThere);
    const call = chance.pick(calls);
    call?.member.cancel(call);
  }

  #setReady(isWanted: boolean, run: () => void): void {
    if (!isWanted) return;
    this.judge.count('readiness');
    run();
  }

  #worsen(badness: number): void {
    this.judge.log(`badness ${badness}`);
    this.#cluster.badness = badness;
  }

  async #check(gateway: Gateway): Promise<void> {
    const result = await gateway.check();
    this.judge.checkSecrets('check()', JSON.stringify(result));
  }

  #follow(what: string, promise: Promise<unknown>): void {
    this.judge.count(what);
    const done = promise
      .catch((error: Error) => {
        this.judge.log(`${what} failed: ${error.message}`);
        this.judge.checkSecrets(`${what}, which failed,`, error.message);
        if (what === 'check' && !this.#isClosing) this.judge.problem(`check() rejects: ${error.stack}`);
      })
      .finally(() => this.#underWay.delete(done));
    this.#underWay.set(done, what);
  }

  /** Goes on until it is so; the guard is for what never ends. */
  async #until(isSo: () => boolean): Promise<void> {
    const end = fairNow() + guardMs;
    while (!isSo() && fairNow() < end) {
      for (const { server } of this.#isHealed ? this.#cluster.pods : []) server.play.release();
      await realSleep(2);
    }
  }
}
