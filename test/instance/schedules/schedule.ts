import { createGateway, type Gateway, type GatewayEvent, type RuntimeContext } from '../../../src/index.js';
import type { JSONRPCMessage, JSONRPCRequest } from '../../../src/sdk.js';
import { FakeClock, settle } from '../../support/fake-clock.js';
import { createRandom } from '../../support/random.js';
import { Judge } from './judge.js';
import { type Call, entries, identities, isWaiting, type Member, type Message } from './people.js';
import { type Opening, PlayedRuntime, type PlayedServer, type Watcher } from './played-runtime.js';
import { restart } from './restart-rules.js';

/** After so long nobody may wait any more, whatever the servers do. */
const patienceMs = 600_000;
const openings: readonly Opening[] = ['slow', 'pull', 'fail', 'fail', 'hang', 'stubborn', 'mute'];
const pauses = [0, 1, 50, 400, 1_000, 3_000, 8_000, 15_000, 40_000];
export const requestTimeoutMs = 20_000;

/** Connections, servers and whatever may happen to them, one step for each number. */
export class Schedule implements Watcher {
  readonly clock = new FakeClock();
  readonly judge: Judge;
  readonly #gateway: Gateway;
  readonly #members: Member[] = [];
  readonly #servers: PlayedServer[] = [];
  readonly #operations: Promise<void>[] = [];
  #nextOpening: Opening = 'at once';
  #nextNumber = 1;
  #closing: Promise<void> | undefined;

  /** @param setting - chooses time-outs and limits */
  constructor(setting: number) {
    const random = new Choice(setting);
    const idle = random.of(['0', '3s', '20s']);
    const limits = random.of([{}, { starting: 2, instances: 4 }]);
    const chance = createRandom(setting);
    const common = {
      runtime: { type: 'played' as const },
      idle_timeout: idle,
      max_lifetime: random.of(['0', '0', '15s']),
      start_timeout: '5s',
      pull_timeout: '10s',
      request_timeout: `${requestTimeoutMs}ms`,
      health: { interval: random.of(['0', '4s']), timeout: '1s', failures: 2 },
      restart: {
        max: restart.max,
        window: `${restart.windowMs}ms`,
        backoff: `${restart.backoffMs}ms`,
        max_backoff: `${restart.maxBackoffMs}ms`,
        cooldown: `${restart.cooldownMs}ms`,
      },
    };
    const isolation = { own: 'caller', all: 'shared', team: 'principal', once: 'request' } as const;
    this.judge = new Judge(this.clock, limits, idle !== '0');
    this.#gateway = createGateway(
      { servers: entries.map((id) => ({ ...common, id, isolation: isolation[id] })) },
      {
        clock: this.clock,
        random: chance,
        limits,
        runtimes: [new PlayedRuntime(this)],
        onEvent: (event: GatewayEvent) => this.judge.event(event),
      },
    );
    this.#join(undefined, random);
    this.#join(undefined, random);
  }

  async step(number: number): Promise<void> {
    const random = new Choice(number);
    const live = this.#servers.filter(({ closed }) => !closed);
    const server = random.of(live);
    const busy = random.of(live.filter(({ pending }) => pending.length > 0));
    const member = random.of(this.#members.filter(({ state }) => state === 'open'));
    const leaver = random.of(this.#members.filter(({ state }) => state === 'open' || state === 'starting'));
    await random.weighted([
      [20, () => settle()],
      [14, () => this.clock.advance(random.of(pauses))],
      [30, () => member && this.#call(member, random)],
      [6, () => member && this.#cancel(member, random)],
      [20, () => busy && this.#answer(busy, random)],
      [4, () => server && this.#answerAgain(server, random)],
      [5, () => busy && this.#progress(busy, random)],
      [4, () => server && this.#say(server)],
      [5, () => server && this.#die(server)],
      [2, () => server && this.#spoil(server, random)],
      [2, () => server?.loosen()],
      [8, () => this.#prepare(random)],
      [2, () => leaver && this.#leave(leaver)],
      [3, () => this.#join(random.of([undefined, 'own', 'all', 'team'] as const), random)],
      [4, () => this.#operate(random)],
      [0.3, () => this.#close(random)],
    ]);
  }

  /** Lets all deadlines pass, closes, and looks whether everybody has got what is his. */
  async finish(): Promise<void> {
    await this.clock.advance(patienceMs);
    this.judge.everybodyIsAnswered('at last');
    if (this.#closing === undefined) {
      this.judge.everythingRests(this.#servers, this.#members);
      this.#close(new Choice(1));
    }
    // What still speaks and ends meanwhile must do no harm.
    for (const server of this.#servers) {
      server.loosen();
    }
    await this.clock.advance(patienceMs);
    await Promise.all([this.#closing, ...this.#operations]);
    await settle();
    this.judge.nothingIsLeft(this.#servers, this.#members);
  }

  // --- callers ---

  #join(only: Member['only'], random: Choice): void {
    const open = this.#members.filter(({ state }) => state === 'open' || state === 'starting');
    if (open.length >= 6) {
      return;
    }
    const index = this.#members.length;
    const identity = random.of(identities);
    const transport =
      only === undefined
        ? this.#gateway.connect({ caller: identity })
        : this.#gateway.connect(only, { caller: identity });
    const member: Member = { index, identity, only, transport, calls: new Map(), state: 'starting', closes: 0 };
    this.#members.push(member);
    this.judge.log(`connection ${index} (${JSON.stringify(identity)}) to ${only ?? 'all servers'}`);
    transport.onmessage = (message) => this.judge.received(member, message as Message);
    transport.onclose = () => this.judge.ended(member);
    transport.start().then(
      () => {
        if (member.state === 'starting') {
          member.state = 'open';
          const params = {
            protocolVersion: '2025-11-25',
            capabilities: {},
            clientInfo: { name: `connection ${index}`, version: '1' },
          };
          this.#send(member, { id: 'initialize', method: 'initialize', params });
        }
      },
      (error: unknown) => this.judge.notStarted(member, error),
    );
  }

  #call(member: Member, random: Choice): void {
    const entry = member.only ?? random.of(entries);
    const number = this.#nextNumber++;
    // The same ids and tokens for everybody: those of one must not be taken for those of another.
    const id = member.calls.size;
    const token = random.of([undefined, id]);
    const call: Call = {
      number,
      member,
      entry,
      id,
      token,
      sentAt: this.clock.now(),
      answers: 0,
      cancelled: false,
      refused: false,
      toldUndelivered: false,
      seen: undefined,
    };
    member.calls.set(id, call);
    this.judge.sent(call);
    const name = member.only === undefined ? `${entry}__x` : 'x';
    const _meta = token === undefined ? {} : { progressToken: token };
    const params = { name, arguments: { call: number }, _meta };
    this.#send(member, { id, method: 'tools/call', params }, (error) => this.judge.refused(call, error));
  }

  #cancel(member: Member, random: Choice): void {
    const call = random.of([...member.calls.values()].filter(isWaiting));
    if (call !== undefined) {
      this.judge.log(`call ${call.number} is cancelled`);
      this.judge.count('cancel');
      call.cancelled = true;
      this.#send(member, { method: 'notifications/cancelled', params: { requestId: call.id } });
    }
  }

  #leave(member: Member): void {
    this.judge.log(`connection ${member.index} leaves`);
    this.judge.count(member.state === 'starting' ? 'leave while starting' : 'leave');
    member.state = 'left';
    this.#operations.push(member.transport.close());
  }

  #send(member: Member, message: object, onRefused?: (error: unknown) => void): void {
    member.transport.send({ jsonrpc: '2.0', ...message } as JSONRPCMessage).catch((error: unknown) => {
      onRefused?.(error);
      // A raw connection whose server has just ended takes nothing any more, and a closed gateway takes nothing at all.
      if (member.state === 'open' && member.only === undefined && this.#closing === undefined) {
        this.judge.problem(`connection ${member.index} cannot send: ${String(error)}`);
      }
    });
  }

  // --- the host ---

  #operate(random: Choice): void {
    const entry = random.of(entries);
    const what = random.of(['stop', 'restart', 'start'] as const);
    const graceMs = random.of([0, 500, 5_000]);
    this.judge.log(`${what} ${entry}, grace ${graceMs}`);
    this.judge.count(what);
    const done = this.judge.operation(what, entry, graceMs);
    const running = what === 'start' ? this.#gateway.start(entry) : this.#gateway[what](entry, { graceMs });
    this.#operations.push(running.then(done, (error: unknown) => done(error)));
  }

  #close(random: Choice): void {
    const graceMs = random.of([0, 500, 5_000]);
    this.judge.log(`close, grace ${graceMs}`);
    const done = entries.map((entry) => this.judge.operation('close', entry, graceMs));
    const closing = this.#gateway.close({ graceMs });
    this.#closing ??= closing.then(() => this.judge.everybodyIsAnswered('when the gateway is closed'));
    this.#operations.push(
      closing.finally(() => {
        for (const call of done) {
          call();
        }
      }),
    );
  }

  // --- servers ---

  opening(context: RuntimeContext): Opening {
    const opening = this.#nextOpening;
    this.#nextOpening = 'at once';
    this.judge.opening(context, opening);
    return opening;
  }

  notOpened(context: RuntimeContext, why: 'failed' | 'timed out' | 'aborted'): void {
    this.judge.notOpened(context, why);
  }

  opened(server: PlayedServer): void {
    this.#servers.push(server);
    this.judge.opened(server);
  }

  saw(server: PlayedServer, message: JSONRPCMessage): void {
    this.judge.saw(server, message as Message);
  }

  answers(server: PlayedServer, response: JSONRPCMessage): void {
    this.judge.answers(server, response as Message);
  }

  closing(server: PlayedServer): void {
    this.judge.closing(server);
  }

  #prepare(random: Choice): void {
    this.#nextOpening = random.of(openings);
  }

  #answer(server: PlayedServer, random: Choice): void {
    const request = random.of(server.pending);
    server.pending.splice(server.pending.indexOf(request), 1);
    server.answered.push(request);
    this.#respond(server, request);
  }

  #answerAgain(server: PlayedServer, random: Choice): void {
    const request = random.of(server.answered);
    if (request !== undefined) {
      this.judge.count('second answer');
      this.#respond(server, request);
    }
  }

  #respond(server: PlayedServer, request: JSONRPCRequest): void {
    server.say({ id: request.id, result: { content: [], structuredContent: numberOf(request) } });
  }

  #progress(server: PlayedServer, random: Choice): void {
    const request = random.of(server.pending);
    const progressToken = request.params?._meta?.progressToken;
    if (progressToken !== undefined) {
      const params = { progressToken, progress: 1, total: 2, ...numberOf(request) };
      server.say({ method: 'notifications/progress', params });
    }
  }

  #say(server: PlayedServer): void {
    const owner = this.judge.ownerOf(server);
    if (owner !== undefined) {
      const data = { owner, entry: server.context.server };
      server.say({ method: 'notifications/message', params: { level: 'info', data } });
    }
  }

  #die(server: PlayedServer): void {
    this.judge.died(server);
    server.die();
  }

  #spoil(server: PlayedServer, random: Choice): void {
    random.of([
      () => {
        server.deaf = true;
      },
      () => {
        server.stuck = true;
      },
      () => {
        server.closeMs = 3_000;
      },
    ])();
  }
}

/** What the caller had said of the call. */
function numberOf(request: JSONRPCRequest): { call: unknown } {
  return { call: (request.params?.arguments as { call?: unknown } | undefined)?.call };
}

/** Makes choices that are the same for the same number. */
export class Choice {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = createRandom(seed);
  }

  /** Undefined only of an empty list. */
  of<T>(items: readonly T[]): T {
    return items[Math.floor(this.#next() * items.length)] as T;
  }

  async weighted(choices: readonly (readonly [weight: number, run: () => unknown])[]): Promise<void> {
    let at = this.#next() * choices.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, run] of choices) {
      if (at < weight) {
        await run();
        return;
      }
      at -= weight;
    }
  }
}
