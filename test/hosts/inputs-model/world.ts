// Loaded in real time when it is first needed, for which a clock that stands still does not wait.
import '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js';
import { createGateway, type Gateway } from '../../../src/index.js';
import { envelope } from '../../endpoint/modern-caller.js';
import type { Json } from '../../endpoint/scripted-server.js';
import type { Chance } from '../../gateway/model/chance.js';
import { FakeClock } from '../../support/fake-clock.js';
import { Judge, lifetimeMs } from './judge.js';
import { type Exchange, type Leg, type State, type User, users, type Wish } from './parts.js';
import { PlayedServers } from './played-servers.js';
import { readMessages } from './read-messages.js';

/** How a request goes on with a state. */
export interface GoingOn {
  readonly state: State;
  readonly responses: Json;
  /** Not the state, or not the request, that it is of. */
  readonly changed?: { readonly state?: string; readonly params?: Json };
}

/** A gateway, its servers, its callers and its time, and who judges them. */
export class World {
  readonly clock = new FakeClock();
  readonly judge: Judge;
  readonly servers: PlayedServers;
  readonly gateway: Gateway;
  #next = 1;
  #messages = 0;

  constructor(chance: Chance) {
    this.servers = new PlayedServers(chance, (instance, request) => this.judge.arrived(instance, request));
    this.judge = new Judge(
      () => this.clock.now(),
      ({ wish }) => this.servers.timeoutMs(wish.server),
    );
    const hasInterceptor = chance.oneIn(2);
    this.gateway = createGateway(this.servers.catalog as never, {
      clock: this.clock,
      ...(hasInterceptor && {
        intercept: ({ method, params, signal, caller }, next) => {
          const { x } = (params._meta ?? {}) as Json;
          if (method === 'tools/call' || method === 'prompts/get') {
            this.#intercepted(x as number, signal, caller);
          }
          return next();
        },
      }),
    });
  }

  /** One that nothing else has. */
  number(): number {
    return this.#next++;
  }

  /** The one that comes next. */
  peek(): number {
    return this.#next;
  }

  #intercepted(x: number, signal: AbortSignal, caller: { readonly id?: unknown; readonly principal?: unknown }): void {
    const user = this.judge.legs.get(x)?.wish.user;
    if (this.judge.signals.has(x) || user === undefined) {
      this.judge.problem(`the interceptor sees ${x} ${user === undefined ? 'of nobody' : 'twice'}`);
    } else if (JSON.stringify(caller) !== JSON.stringify(users[user])) {
      this.judge.problem(`the interceptor sees ${x} of another: ${JSON.stringify(caller)}`);
    }
    this.judge.signals.set(x, signal);
  }

  // --- what callers send ---

  wish(user: User, server: Wish['server'], method: Wish['method']): Wish {
    const number = this.number();
    return { number, user, server, method, params: { name: `${server}__go`, arguments: { n: String(number) } } };
  }

  send(wish: Wish, user: User, abilities: Json, hasToken: boolean, on?: GoingOn): Exchange {
    const { judge } = this;
    const number = this.number();
    const isGood = on === undefined ? true : this.#isGood(user, on);
    const isOwn = on?.state.kind !== 'held' && isGood !== false;
    const token = hasToken ? `p${number}` : undefined;
    const leg = isOwn ? this.#leg({ number, wish, abilities, hasToken, begunWith: on?.state }) : undefined;
    const exchange: Exchange = {
      ...{ number, wish, user, abilities, token, isGood, leg, sentAt: judge.turn, abort: new AbortController() },
      ...{ state: on?.state, responses: on?.responses ?? {}, progress: [], answer: undefined },
      ...{ isRefused: false, hasLeft: false, isOver: false },
    };
    if (leg !== undefined) {
      leg.open = exchange;
    }
    judge.exchanges.push(exchange);
    on?.state.takers.push(exchange);
    on && judge.touch(on.state.leg);
    const requestState = on?.changed?.state ?? on?.state.text;
    const params = {
      ...(on?.changed?.params ?? wish.params),
      _meta: { ...envelope(abilities), x: number, ...(token !== undefined && { progressToken: token }) },
      ...(requestState !== undefined && { requestState }),
      ...(on !== undefined && { inputResponses: on.responses }),
    };
    const more = on ? ` (goes on with ${on.state.leg.number}, ${on.state.kind}, good: ${isGood})` : '';
    judge.log(`${user} sends ${number}: ${wish.method} ${wish.params.name}${more} ${JSON.stringify(params)}`);
    void this.#exchange(exchange, { jsonrpc: '2.0', id: `r${number}`, method: wish.method, params });
    return exchange;
  }

  #leg(given: Pick<Leg, 'number' | 'wish' | 'abilities' | 'hasToken' | 'begunWith'>): Leg {
    const { judge, clock } = this;
    const leg: Leg = {
      ...given,
      ...{ beganAt: clock.now(), at: undefined, arrivedAt: judge.turn, answer: undefined },
      ...{ open: undefined, state: undefined, isOver: false, isToldOff: false, isUnsure: false, touchedAt: judge.turn },
    };
    judge.legs.set(leg.number, leg);
    return leg;
  }

  /** Whether a request may go on with a state; undefined when nobody can tell. */
  #isGood(user: User, { state, changed }: GoingOn): boolean | undefined {
    const { kind, wish, takers, text, leg } = state;
    const since = (ms: number) => this.clock.now() - ms;
    if (text === undefined) {
      return true;
    }
    if (user !== wish.user || changed !== undefined || since(state.readAt) >= lifetimeMs) {
      return false;
    }
    const isUnsure = this.judge.isClosing || since(state.writtenFrom) >= lifetimeMs;
    if (kind !== 'held' || isUnsure) {
      return isUnsure ? undefined : true;
    }
    const possible = takers.filter(({ isGood, isRefused }) => isGood !== false && !isRefused);
    const { turn } = this.judge;
    if (possible.length === 0 && !leg.isUnsure) {
      state.goodAt = turn;
      return true;
    }
    if (possible.some(({ sentAt, hasLeft }) => sentAt < turn && !hasLeft)) {
      return false;
    }
    for (const taker of possible.filter(({ sentAt }) => sentAt === turn)) {
      taker.isGood = undefined;
    }
    return undefined;
  }

  async #exchange(exchange: Exchange, message: Json): Promise<void> {
    const { user, abort, wish } = exchange;
    const headers = {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': wish.method,
      'mcp-name': String((message.params as Json).name),
    };
    const request = new Request('http://localhost/mcp', {
      ...{ method: 'POST', headers, body: JSON.stringify(message), signal: abort.signal },
    });
    let status: number | undefined;
    try {
      const response = await this.gateway.fetch(request, { caller: users[user] });
      ({ status } = response);
      for await (const each of readMessages(response)) {
        this.#messages += 1;
        exchange.hasLeft || this.judge.received(exchange, each);
      }
    } catch (error) {
      exchange.hasLeft || this.judge.problem(`${exchange.number} failed: ${String(error)}`);
    }
    this.#messages += 1;
    this.judge.over(exchange, status);
  }

  /** The client hangs up. */
  leave(exchange: Exchange): void {
    const { judge } = this;
    const { leg, sentAt } = exchange;
    judge.count('left');
    judge.log(`${exchange.user} leaves ${exchange.number}`);
    exchange.hasLeft = true;
    exchange.abort.abort();
    if (leg === undefined || leg.isOver) {
      return;
    }
    leg.isOver = true;
    if (sentAt < judge.turn && leg.touchedAt < judge.turn && leg.open === exchange) {
      leg.isToldOff = leg.at !== undefined && leg.answer === undefined && !leg.at.instance.closed;
    } else {
      leg.isUnsure = true;
    }
    judge.touch(leg);
  }

  // --- time ---

  /** Lets everything happen that waits for nothing but its turn. */
  async pause(): Promise<void> {
    let before = '';
    for (let quiet = 0; quiet < 4; ) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      const now = `${this.#messages} ${this.servers.activity}`;
      quiet = now === before ? quiet + 1 : 0;
      before = now;
    }
    this.judge.settled();
    this.judge.turn += 1;
    this.judge.turnFrom = this.clock.now();
    for (const problem of this.servers.problems.splice(0)) {
      this.judge.problem(`a server failed: ${String(problem)}`);
    }
  }

  async passTime(ms: number): Promise<void> {
    await this.pause();
    this.judge.log(`${ms} ms pass`);
    await this.clock.advance(ms);
    await this.pause();
  }
}
