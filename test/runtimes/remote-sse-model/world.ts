import { createGateway, type Gateway, RemoteSseRuntime } from '../../../src/index.js';
// What is loaded on demand is there: time that stands still does not wait for it.
import '../../../src/runtimes/remote-sse/remote-sse-servers.js';
import { loadAuth } from '../../../src/sdk.js';
import { loadUndici } from '../../../src/transport/http/load.js';
import { type Chance, createChance } from '../../gateway/model/chance.js';
import { FakeClock } from '../../support/fake-clock.js';
import { Judge } from './judge.js';
import { Member } from './members.js';
import { Pace } from './pace.js';
import type { Play } from './play.js';
import { SseServer } from './sse-server.js';
import { StreamableServer } from './streamable-server.js';

const mostMembers = 6;

/** A gateway, its callers, and the remote server that they call. */
export class World {
  readonly judge = new Judge();
  readonly clock = new FakeClock();
  readonly server: StreamableServer | SseServer;
  readonly members: Member[] = [];
  /** What was begun and has not ended, with its name. */
  readonly underWay = new Map<Promise<unknown>, string>();
  readonly isModern: boolean;
  readonly pace: Pace;
  /** Its callers share one instance. */
  readonly shares: boolean;
  readonly #mode: string;
  readonly #setting: number;
  #gateway: Gateway | undefined;
  #calls = 0;
  #generation = 0;

  /** @param chance - decides how it is set up */
  constructor(setting: number, chance: Chance) {
    this.#setting = setting;
    const kind = chance.one(['sessions', 'sessions', 'no sessions', 'modern', 'modern', 'sse', 'sse'] as const);
    this.isModern = kind === 'modern';
    this.shares = chance.oneIn(3);
    this.#mode = chance.one(['auto', kind === 'sse' ? 'sse' : 'streamable-http']);
    const { judge } = this;
    const given = { setting, shares: this.shares, asks: true };
    this.server = kind === 'sse' ? new SseServer(judge, given) : new StreamableServer(judge, given, kind);
    this.pace = new Pace(this.clock, this.play);
    judge.asksPersons = this.play.access.kind === 'person';
    this.play.now = () => this.clock.now();
    judge.log(`${kind}, ${this.#mode}, ${this.shares ? 'shared' : 'by caller'}, access by ${this.play.access.kind}`);
  }

  get play(): Play {
    return this.server.play;
  }

  /** Callers that are there. */
  get present(): Member[] {
    return this.members.filter(({ isThere }) => isThere);
  }

  async open(chance: Chance): Promise<Gateway> {
    if (this.#gateway === undefined) {
      await Promise.all([this.play.open(), loadUndici(), loadAuth()]);
      const { headers, authProvider } = this.play.access.persons;
      this.#gateway = createGateway(this.catalog(false) as never, {
        runtimes: [new RemoteSseRuntime({ proxy: false, headers, authProvider })],
        clock: this.clock,
        env: {},
        onEvent: (event) => {
          this.judge.checkSecrets('an event', JSON.stringify(event));
          // What changes until the next one is watched is told then.
          const isEnd = event.type === 'phase' && !['starting', 'ready'].includes(event.to);
          if (isEnd) for (const { watches } of this.members) watches.excuse();
        },
      });
      for (let count = 0; count < 3; count += 1) this.join(chance);
    }
    return this.#gateway;
  }

  catalog(isChanged: boolean) {
    this.#generation += isChanged ? 1 : 0;
    const { authorization, kind } = this.play.access;
    const headers = { ...(kind === 'catalog' && { authorization }), 'x-generation': String(this.#generation) };
    const runtime = { type: 'remote-sse', url: this.play.url, headers, transport: this.#mode };
    // A server that somebody watches is started again by itself: not thousands of times while it is down.
    const backoff = this.isModern ? '500ms' : '1ms';
    const restart = { max: 1_000_000, backoff, max_backoff: this.isModern ? '2s' : '2ms' };
    const isolation = this.shares ? 'shared' : 'caller';
    const hasHealth = createChance(this.#setting).oneIn(3);
    const health = hasHealth && { health: { interval: '20s', timeout: '5s', failures: 3 } };
    const times = { request_timeout: '60s', restart, ...health };
    return { servers: [{ id: 'remote', isolation, max_message: '512KiB', runtime, ...times }] } as never;
  }

  nextCall(): number {
    this.#calls += 1;
    return this.#calls;
  }

  join(chance: Chance, isMerged = chance.oneIn(2)): void {
    if (!this.play.isKind && this.present.length >= mostMembers) return;
    const gateway = this.#gateway as Gateway;
    const isTranslated = !isMerged && chance.oneIn(3);
    const isModern = isMerged || isTranslated ? chance.oneIn(3) : this.isModern;
    const era = isModern ? 'modern' : 'legacy';
    const { judge, play, shares } = this;
    const member = new Member(this.members.length, { gateway, judge, shares, isMerged, isTranslated, era, play });
    this.members.push(member);
    const version = chance.one(['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05']);
    this.follow(`the start of ${member.name}`, member.join(version));
  }

  follow(what: string, promise: Promise<unknown>): void {
    this.judge.count(what.startsWith('the start') ? 'start' : what);
    const done = promise
      .catch((error: Error) => {
        this.judge.log(`${what} failed: ${error.message}`);
        this.judge.checkSecrets(`${what}, which failed,`, error.message);
      })
      .finally(() => this.underWay.delete(done));
    this.underWay.set(done, what);
  }

  async comeUp(): Promise<void> {
    if (!this.play.host.isUp) await this.play.host.open();
  }
}
