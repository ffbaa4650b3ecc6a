import type { Gateway } from '../../../src/index.js';
import type { Chance } from '../../gateway/model/chance.js';
import { settle } from '../../support/fake-clock.js';
import { isWaiting } from './judge.js';
import { type Listeners, type Uri, uris } from './listeners.js';
import type { Member } from './members.js';
import { StreamableServer } from './streamable-server.js';
import type { World } from './world.js';

/** The end of a schedule: whether everything is answered, everybody can go on, and nothing is left. */
export class Ending {
  readonly #world: World;
  readonly #gateway: Gateway;
  readonly #chance: Chance;

  constructor(world: World, gateway: Gateway, chance: Chance) {
    this.#world = world;
    this.#gateway = gateway;
    this.#chance = chance;
  }

  /** All that waits is answered, and everybody can call again. */
  async settleAll(): Promise<void> {
    const { judge } = this.#world;
    const { access } = this.#world.play;
    judge.log('the server does what it should');
    this.#world.play.isKind = true;
    access.persons.giveTokens();
    await this.#world.comeUp();
    // What was cut is known to be, and what was waited for has come.
    await this.#world.pace.quiet();
    while (this.#world.play.held.length > 0) {
      this.#world.play.release();
      await this.#world.pace.quiet();
    }
    const waits = (member: Member) => member.isThere && member.watches.isWaiting;
    const isDone = () => ![...judge.calls.values()].some(isWaiting) && this.#world.underWay.size === 0;
    await this.#world.pace.until(() => isDone() && !this.#world.members.some(waits), 5_000);
    judge.checkAnswered();
    for (const { watches, questions } of this.#world.present) {
      watches.checkAnswered();
      questions.check();
    }
    for (const what of this.#world.underWay.values()) judge.problem(`${what} does not end`);
    for (const { member, number, refused, isTooLarge } of judge.calls.values()) {
      if (refused && !isTooLarge && member.isThere)
        judge.problem(`${member.name} is there, and call ${number} was not accepted`);
    }
    access.persons.giveTokens();
    // The merged peer begins another session where the server has forgotten one; the others connect again.
    this.#world.join(this.#chance, true);
    await this.#world.pace.until(() => this.#world.underWay.size === 0, 1_000);
    await this.#everybodyCalls(({ isMerged }) => isMerged);
    this.#world.join(this.#chance, false);
    await this.#world.pace.until(() => this.#world.underWay.size === 0, 1_000);
    if (this.#world.members.slice(-2).some(({ isThere }) => !isThere))
      judge.problem('nobody can join when all is quiet');
    await this.#everybodyCalls(() => true);
    if (!this.#world.isModern) this.#world.server.interrupt(this.#chance);
    // As long as the rest of an answer is waited for.
    await this.#world.pace.passTime(6_000);
    // A check of health that is answered on its stream may not be acknowledged yet.
    await this.#world.pace.until(() => this.#openPosts === 0, 0);
    if (this.#world.server instanceof StreamableServer && this.#world.server.hasClosedStreams)
      await this.#world.pace.passTime(60_000);
    this.#checkRest();
    this.#world.server.checkHeard();
    if (this.#world.server instanceof StreamableServer) this.#world.server.checkCancelled();
    if (this.#world.server.listeners !== undefined) await this.#checkWatches(this.#world.server.listeners);
  }

  /** Whoever watches has been told what happened while its stream was not there, and is told what happens now. */
  async #checkWatches(listeners: Listeners): Promise<void> {
    const members = this.#world.present;
    const check = () => {
      for (const { watches } of members) watches.check(listeners.refused);
    };
    // As long as a stream may take to be opened again.
    await this.#world.pace.passTime(40_000);
    check();
    for (const uri of uris) {
      listeners.change(uri);
      await this.#world.pace.quiet();
      this.#checkListeners(uri, listeners);
    }
    check();
  }

  /** Streams at the server are those that somebody listens to. */
  #checkListeners(uri: Uri, listeners: Listeners): void {
    const { judge, present, shares } = this.#world;
    const open = listeners.of(uri);
    const watched = present.flatMap(({ name, watches }) => Array(watches.countOf(uri)).fill(name) as string[]);
    if (open.length > 0) judge.count('listened to');
    if (shares && open.length > watched.length)
      judge.problem(`${open.length} streams are open for ${uri}, and ${watched.length} listen`);
    if (shares) return;
    for (const owner of new Set(open)) {
      const own = open.filter((each) => each === owner).length;
      const wanted = watched.filter((each) => each === owner).length;
      if (own > wanted) judge.problem(`${owner} has ${own} streams open for ${uri}, and ${wanted} listen`);
    }
  }

  /** Nothing is held for what is answered, but for what may come besides. */
  #checkRest(): void {
    const { inFlight } = this.#gateway.status('remote');
    if (inFlight > 0) this.#world.judge.problem(`${inFlight} calls are in flight, and all are answered`);
    if (this.#openPosts > 0) this.#world.judge.problem(`${this.#openPosts} POSTs are open, and all calls are answered`);
  }

  get #openPosts(): number {
    return [...this.#world.play.host.unanswered].filter(({ method }) => method === 'POST').length;
  }

  async #everybodyCalls(hasToWork: (member: Member) => boolean): Promise<void> {
    const { access } = this.#world.play;
    // What was granted late may have come in between. Who needs no person gets the rest as it calls.
    access.persons.giveTokens(access.kind === 'machine' ? '' : 'a b');
    const { judge } = this.#world;
    const members = this.#world.present;
    const calls = members.map((member) => member.call(this.#world.nextCall(), this.#chance, false));
    await this.#world.pace.until(() => !calls.some(isWaiting), 1_000);
    judge.checkAnswered();
    for (const { member, number, executed } of calls) {
      if (executed === 0 && hasToWork(member)) judge.problem(`${member.name} cannot make call ${number}`);
    }
  }

  async close(): Promise<void> {
    const { judge } = this.#world;
    const { access, host, other } = this.#world.play;
    await this.#world.pace.quiet();
    // Here the gateway asks, and not the server.
    if (this.#world.isModern) for (const { questions } of this.#world.present) questions.check();
    const sessions = this.#world.server instanceof StreamableServer ? this.#world.server.sessions : [];
    const living = sessions.filter(
      ({ isAlive, isKnown, hasLost, deletes }) => isAlive && isKnown && !hasLost && deletes === 0,
    );
    const isUp = host.isUp;
    judge.log('the gateway closes');
    let isClosed = false;
    const closing = this.#gateway.close({ graceMs: 0 }).then(
      () => {
        isClosed = true;
      },
      (error: unknown) => judge.problem(`close failed: ${String(error)}`),
    );
    await this.#world.pace.until(() => isClosed, 1_000);
    if (!isClosed) return judge.problem('close does not end');
    await closing;
    judge.checkAnswered();
    if (this.#world.clock.waiting > 0) judge.problem(`${this.#world.clock.waiting} timers are left after close`);
    await this.#world.pace.until(() => host.connections === 0 && this.#world.underWay.size === 0, 0);
    if (host.connections > 0) judge.problem(`${host.connections} connections are left after close`);
    for (const what of this.#world.underWay.values()) judge.problem(`${what} does not end, even with the gateway`);
    for (const { id, deletes } of living) {
      if (isUp && deletes === 0 && !access.isExcused)
        judge.problem(`session ${id} lives on: DELETE came ${deletes} times`);
    }
    for (const member of this.#world.members) {
      if (member.closes !== 1) judge.problem(`${member.name} was told ${member.closes} times that it is closed`);
    }
    await Promise.all([host.close(), other.close()]);
    while (this.#world.play.held.length > 0) {
      this.#world.play.release();
      await settle();
    }
  }
}
