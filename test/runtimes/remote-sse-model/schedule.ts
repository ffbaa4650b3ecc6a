import { createGateway, type Gateway, RemoteSseRuntime } from '../../../src/index.js';
// What is loaded on demand is there: time that stands still does not wait for it.
import '../../../src/runtimes/remote-sse/remote-sse-servers.js';
import { loadUndici } from '../../../src/transport/http/load.js';
import { type Chance, createChance } from '../../gateway/model/chance.js';
import { FakeClock, settle } from '../../support/fake-clock.js';
import { isWaiting, Judge } from './judge.js';
import { type Listeners, uris } from './listeners.js';
import { Member } from './members.js';
import type { Play } from './play.js';
import { SseServer } from './sse-server.js';
import { StreamableServer } from './streamable-server.js';

const mostMembers = 6;
/** Far longer than anything takes. */
const guardMs = 20_000;

/** A gateway with callers of a remote server that misbehaves: one step for each number. */
export class Schedule {
  readonly judge = new Judge();
  readonly #chance: Chance;
  readonly #clock = new FakeClock();
  readonly #server: StreamableServer | SseServer;
  readonly #play: Play;
  readonly #members: Member[] = [];
  readonly #underWay = new Map<Promise<unknown>, string>();
  readonly #isModern: boolean;
  readonly #shares: boolean;
  readonly #mode: string;
  readonly #setting: number;
  #gateway: Gateway | undefined;
  #calls = 0;
  #generation = 0;

  constructor(setting: number) {
    this.#setting = setting;
    this.#chance = createChance(setting);
    const chance = this.#chance;
    const kind = chance.one(['sessions', 'sessions', 'no sessions', 'modern', 'modern', 'sse', 'sse'] as const);
    this.#isModern = kind === 'modern';
    this.#shares = chance.oneIn(3);
    this.#mode = chance.one(['auto', kind === 'sse' ? 'sse' : 'streamable-http']);
    const { judge } = this;
    this.#server = kind === 'sse' ? new SseServer(judge, setting) : new StreamableServer(judge, setting, kind);
    this.#play = this.#server.play;
    this.#play.now = () => this.#clock.now();
    judge.log(`${kind}, ${this.#mode}, ${this.#shares ? 'shared' : 'by caller'}`);
  }

  async step(number: number): Promise<void> {
    const gateway = await this.#begin();
    const chance = createChance(number);
    const member = chance.pick(this.#members.filter(({ isThere }) => isThere));
    await chance.weigh<() => unknown>([
      [14, () => this.#quiet()],
      [3, () => settle()],
      [26, () => member?.call(this.#nextCall(), chance)],
      [14, () => this.#play.release(chance)],
      [4, () => this.#cancel(chance)],
      [1, () => member && this.#follow('leave', member.leave())],
      [3, () => this.#join(chance)],
      [this.#isModern ? 12 : 0, () => member?.watches.begin(chance.one(uris), this.#nextCall())],
      [this.#isModern ? 6 : 0, () => member?.watches.end(this.#nextCall())],
      [3, () => this.#server.disturb(chance)],
      [6, () => this.#interrupt(chance)],
      [6, () => this.#server.speak(chance)],
      [3, () => this.#play.host.closeIdle()],
      [4, () => this.#play.access.expire()],
      [1, () => this.#goDown(chance)],
      [5, () => this.#comeUp()],
      [1, () => this.#follow('restart', gateway.restart('remote', { graceMs: chance.one([0, 500]) }))],
      [1, () => this.#follow('stop', gateway.stop('remote', { graceMs: chance.one([0, 500]) }))],
      [1, () => this.#follow('reload', gateway.reload(this.#catalog(true)))],
      [6, () => this.#passTime(chance.one([100, 500, 2_000, 6_000, 20_000, 70_000]))],
    ])();
  }

  /** Lets everything come to its end, looks whether it is as it should be, and closes. */
  async finish(): Promise<void> {
    const gateway = await this.#begin();
    if (this.#chance.oneIn(2)) await this.#settleAll();
    await this.#close(gateway);
  }

  /** All that waits is answered, and everybody can call again. */
  async #settleAll(): Promise<void> {
    const { judge } = this;
    judge.log('the server does what it should');
    this.#play.isKind = true;
    this.#play.access.giveToken();
    await this.#comeUp();
    // What was cut is known to be, and what was waited for has come.
    await this.#quiet();
    while (this.#play.held.length > 0) {
      this.#play.release();
      await this.#quiet();
    }
    const waits = (member: Member) => member.isThere && member.watches.isWaiting;
    const isDone = () => ![...judge.calls.values()].some(isWaiting) && this.#underWay.size === 0;
    await this.#until(() => isDone() && !this.#members.some(waits), 5_000);
    judge.checkAnswered();
    for (const member of this.#members.filter(({ isThere }) => isThere)) member.watches.checkAnswered();
    for (const what of this.#underWay.values()) judge.problem(`${what} does not end`);
    for (const { member, number, refused, isTooLarge } of judge.calls.values()) {
      if (refused && !isTooLarge && member.isThere)
        judge.problem(`${member.name} is there, and call ${number} was not accepted`);
    }
    // The merged peer begins another session where the server has forgotten one; the others connect again.
    this.#join(this.#chance, true);
    await this.#until(() => this.#underWay.size === 0, 1_000);
    await this.#everybodyCalls(({ isMerged }) => isMerged);
    this.#join(this.#chance, false);
    await this.#until(() => this.#underWay.size === 0, 1_000);
    if (this.#members.slice(-2).some(({ isThere }) => !isThere)) judge.problem('nobody can join when all is quiet');
    await this.#everybodyCalls(() => true);
    if (!this.#isModern) this.#server.interrupt(this.#chance);
    // As long as the rest of an answer is waited for.
    await this.#passTime(6_000);
    // A check of health that is answered on its stream may not be acknowledged yet.
    await this.#until(() => this.#openPosts === 0, 0);
    if (this.#server instanceof StreamableServer && this.#server.hasClosedStreams) await this.#passTime(60_000);
    this.#checkRest();
    this.#server.checkHeard();
    if (this.#server instanceof StreamableServer) this.#server.checkCancelled();
    if (this.#server.listeners !== undefined) await this.#checkWatches(this.#server.listeners);
  }

  /** Whoever watches has been told what happened while its stream was not there, and is told what happens now. */
  async #checkWatches(listeners: Listeners): Promise<void> {
    const members = this.#members.filter(({ isThere }) => isThere);
    const check = () => {
      for (const { watches } of members) watches.check(listeners.refused);
    };
    // As long as a stream may take to be opened again.
    await this.#passTime(40_000);
    check();
    for (const uri of uris) {
      listeners.change(uri);
      await this.#quiet();
      const isWatched = members.some(({ watches }) => watches.isOn(uri));
      if (!isWatched && listeners.hasListener(uri)) this.judge.problem(`nobody watches ${uri}, but a stream is open`);
    }
    check();
  }

  /** Nothing is held for what is answered, but for what may come besides. */
  #checkRest(): void {
    const { inFlight } = (this.#gateway as Gateway).status('remote');
    if (inFlight > 0) this.judge.problem(`${inFlight} calls are in flight, and all are answered`);
    if (this.#openPosts > 0) this.judge.problem(`${this.#openPosts} POSTs are open, and all calls are answered`);
  }

  get #openPosts(): number {
    return [...this.#play.host.unanswered].filter(({ method }) => method === 'POST').length;
  }

  async #everybodyCalls(hasToWork: (member: Member) => boolean): Promise<void> {
    const { judge } = this;
    const members = this.#members.filter(({ isThere }) => isThere);
    const calls = members.map((member) => member.call(this.#nextCall(), this.#chance, false));
    await this.#until(() => !calls.some(isWaiting), 1_000);
    judge.checkAnswered();
    for (const { member, number, executed } of calls) {
      if (executed === 0 && hasToWork(member)) judge.problem(`${member.name} cannot make call ${number}`);
    }
  }

  async #close(gateway: Gateway): Promise<void> {
    const { judge } = this;
    const { access, host, other } = this.#play;
    await this.#quiet();
    const sessions = this.#server instanceof StreamableServer ? this.#server.sessions : [];
    const living = sessions.filter(
      ({ isAlive, isKnown, hasLost, deletes }) => isAlive && isKnown && !hasLost && deletes === 0,
    );
    const isUp = host.isUp;
    judge.log('the gateway closes');
    let isClosed = false;
    const closing = gateway.close({ graceMs: 0 }).then(
      () => {
        isClosed = true;
      },
      (error: unknown) => judge.problem(`close failed: ${String(error)}`),
    );
    await this.#until(() => isClosed, 1_000);
    if (!isClosed) return judge.problem('close does not end');
    await closing;
    judge.checkAnswered();
    if (this.#clock.waiting > 0) judge.problem(`${this.#clock.waiting} timers are left after close`);
    await this.#until(() => host.connections === 0 && this.#underWay.size === 0, 0);
    if (host.connections > 0) judge.problem(`${host.connections} connections are left after close`);
    for (const what of this.#underWay.values()) judge.problem(`${what} does not end, even with the gateway`);
    for (const { id, deletes } of living) {
      if (isUp && deletes === 0 && !access.isExcused)
        judge.problem(`session ${id} lives on: DELETE came ${deletes} times`);
    }
    for (const member of this.#members) {
      if (member.closes !== 1) judge.problem(`${member.name} was told ${member.closes} times that it is closed`);
    }
    await Promise.all([host.close(), other.close()]);
    while (this.#play.held.length > 0) {
      this.#play.release();
      await settle();
    }
  }

  async #begin(): Promise<Gateway> {
    if (this.#gateway === undefined) {
      await Promise.all([this.#play.host.open(), this.#play.other.open(), loadUndici()]);
      const { access } = this.#play;
      access.giveToken();
      this.#gateway = createGateway(this.#catalog(false) as never, {
        runtimes: [
          new RemoteSseRuntime({ proxy: false, headers: access.headers, authProvider: () => access.provider }),
        ],
        clock: this.#clock,
        env: {},
        onEvent: (event) => {
          this.judge.checkSecrets('an event', JSON.stringify(event));
          // What changes until the next one is watched is told then.
          const isEnd = event.type === 'phase' && !['starting', 'ready'].includes(event.to);
          if (isEnd) for (const { watches } of this.#members) watches.excuse();
        },
      });
      for (let count = 0; count < 3; count += 1) this.#join(this.#chance);
    }
    return this.#gateway;
  }

  #catalog(isChanged: boolean) {
    this.#generation += isChanged ? 1 : 0;
    const { authorization, provider } = this.#play.access;
    const headers = { ...(provider === undefined && { authorization }), 'x-generation': String(this.#generation) };
    const runtime = { type: 'remote-sse', url: this.#play.url, headers, transport: this.#mode };
    // A server that somebody watches is started again by itself: not thousands of times while it is down.
    const backoff = this.#isModern ? '500ms' : '1ms';
    const restart = { max: 1_000_000, backoff, max_backoff: this.#isModern ? '2s' : '2ms' };
    const isolation = this.#shares ? 'shared' : 'caller';
    const health = createChance(this.#setting).oneIn(3) ? { interval: '20s', timeout: '5s', failures: 3 } : undefined;
    return {
      servers: [
        {
          id: 'remote',
          isolation,
          request_timeout: '60s',
          max_message: '512KiB',
          restart,
          runtime,
          ...(health && { health }),
        },
      ],
    } as never;
  }

  #nextCall(): number {
    this.#calls += 1;
    return this.#calls;
  }

  #join(chance: Chance, isMerged = chance.oneIn(2)): void {
    if (!this.#play.isKind && this.#members.filter(({ isThere }) => isThere).length >= mostMembers) return;
    const gateway = this.#gateway as Gateway;
    const isModern = isMerged ? chance.oneIn(3) : this.#isModern;
    const era = isModern ? 'modern' : 'legacy';
    const { judge } = this;
    const member = new Member(this.#members.length, { gateway, judge, shares: this.#shares, isMerged, era });
    this.#members.push(member);
    const version = chance.one(['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05']);
    this.#follow(`the start of ${member.name}`, member.join(version));
  }

  #cancel(chance: Chance): void {
    const calls = [...this.judge.calls.values()].filter((call) => isWaiting(call) && call.member.isThere);
    const call = chance.pick(calls);
    call?.member.cancel(call);
  }

  /** A stream ends that belongs to no request, and is taken up again. */
  async #interrupt(chance: Chance): Promise<void> {
    const { listeners } = this.#server;
    const watched = listeners?.interrupt(chance);
    const isInterrupted = watched !== undefined || (!this.#isModern && this.#server.interrupt(chance));
    if (!isInterrupted) return;
    await this.#quiet();
    if (watched !== undefined) listeners?.change(watched);
    else if (chance.oneIn(2)) this.#server.speak(chance);
    await this.#passTime(chance.one([200, 700, 2_000]));
  }

  async #goDown(chance: Chance): Promise<void> {
    this.judge.count('the server goes down');
    this.#server.forget();
    await this.#play.host.close(chance.oneIn(2));
  }

  async #comeUp(): Promise<void> {
    if (!this.#play.host.isUp) await this.#play.host.open();
  }

  #follow(what: string, promise: Promise<unknown>): void {
    this.judge.count(what.startsWith('the start') ? 'start' : what);
    const done = promise
      .catch((error: Error) => {
        this.judge.log(`${what} failed: ${error.message}`);
        this.judge.checkSecrets(`${what}, which failed,`, error.message);
      })
      .finally(() => this.#underWay.delete(done));
    this.#underWay.set(done, what);
  }

  /** Lets everything happen that waits for nothing but the network and its turn. */
  async #quiet(): Promise<void> {
    const seen = () => this.#play.host.activity + this.judge.lines.length;
    const isBusy = () => this.#play.access.provider?.isAsking === true;
    for (let quiet = 0, before = seen(); quiet < 3 || isBusy(); before = seen()) {
      await settle();
      quiet = seen() === before ? quiet + 1 : 0;
    }
  }

  async #passTime(ms: number): Promise<void> {
    if (ms > 0) this.judge.log(`${ms} ms pass`);
    await this.#quiet();
    let isOver = false;
    this.#clock.setTimeout(() => {
      isOver = true;
    }, ms);
    // What a timer has put on its way comes before the next: the network takes real time.
    while (!isOver) {
      await this.#clock.advanceToNext();
      await this.#quiet();
    }
  }

  /** Goes on until it is so; the guard is for what never ends. */
  async #until(isSo: () => boolean, ms: number): Promise<void> {
    const end = performance.now() + guardMs;
    while (!isSo() && performance.now() < end) {
      if (this.#play.isKind || ms > 0) this.#play.release();
      await this.#passTime(ms);
    }
  }
}
