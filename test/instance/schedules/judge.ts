import { GatewayError, type GatewayEvent, type Phase, type RuntimeContext } from '../../../src/index.js';
import { firstOwnId } from '../../../src/instance/era/era-search.js';
import type { FakeClock } from '../../support/fake-clock.js';
import { Notes } from '../../support/play-schedules.js';
import { type Call, type Entry, entries, isWaiting, type Member, type Message, mayHear, ownerOf } from './people.js';
import type { Opening, PlayedServer } from './played-runtime.js';
import { RestartRules } from './restart-rules.js';

interface Limits {
  readonly starting?: number;
  readonly instances?: number;
}

interface Operation {
  readonly what: 'start' | 'stop' | 'restart' | 'close';
  readonly entry: Entry;
  readonly startedAt: number;
  readonly graceMs: number;
  endedAt: number;
}

/** Which phase may follow which, by the diagram in docs/concepts.md. */
const steps: Readonly<Record<Phase, string>> = {
  idle: 'starting',
  starting: 'pulling ready stopping idle failed crash-loop',
  pulling: 'starting ready stopping idle failed crash-loop',
  ready: 'stopping',
  stopping: 'idle failed crash-loop',
  failed: '',
  'crash-loop': '',
};
const ends: readonly Phase[] = ['idle', 'failed', 'crash-loop'];
const requestTimeoutMs = 20_000;

/** Sees all that happens in a schedule, and says what must not. Knows the promises of the documentation, and no code. */
export class Judge extends Notes {
  readonly #clock: FakeClock;
  readonly #limits: Limits;
  readonly #hasIdle: boolean;
  readonly #calls = new Map<number, Call>();
  readonly #operations: Operation[] = [];
  readonly #owners = new Map<PlayedServer, string>();
  readonly #openedAt = new Map<PlayedServer, number>();
  /** Who has initialized each. */
  readonly #clients = new Map<PlayedServer, string>();
  readonly #phases = new Map<string, Phase>();
  readonly #rules = new Map<string, RestartRules>(entries.map((entry) => [entry, new RestartRules()]));
  readonly #starting = new Set<RuntimeContext>();
  readonly #running = new Set<PlayedServer>();
  readonly #servers = new Map<string, PlayedServer>();
  /** Those of which the gateway has seen that they answer. */
  readonly #proved = new Set<PlayedServer>();

  constructor(clock: FakeClock, limits: Limits, hasIdle: boolean) {
    super();
    this.#clock = clock;
    this.#limits = limits;
    this.#hasIdle = hasIdle;
  }

  override log(text: string): void {
    super.log(`${this.#clock.now()} ${text}`);
  }

  // --- callers ---

  sent(call: Call): void {
    this.log(`connection ${call.member.index} calls ${call.entry}: call ${call.number}, id ${call.id}`);
    this.#calls.set(call.number, call);
  }

  refused(call: Call, error: unknown): void {
    this.log(`call ${call.number} is refused: ${String(error)}`);
    call.refused = true;
    if (call.seen !== undefined || call.answers > 0) {
      this.problem(`call ${call.number} was refused by send, and got further all the same`);
    }
  }

  notStarted(member: Member, error: unknown): void {
    this.log(`connection ${member.index} does not start: ${String(error)}`);
    if (!GatewayError.is(error)) {
      this.problem(
        `connection ${member.index} fails to start with something else than a GatewayError: ${String(error)}`,
      );
    }
    if (member.closes !== 1) {
      this.problem(`connection ${member.index} did not start, and has ${member.closes} closes`);
    }
  }

  ended(member: Member): void {
    this.log(`connection ${member.index} ends`);
    member.closes += 1;
    if (member.closes > 1) {
      this.problem(`connection ${member.index} ends ${member.closes} times`);
    }
    if (member.state !== 'left') {
      this.count('end of a connection');
      member.state = 'ended';
      const open = [...member.calls.values()].filter(isWaiting);
      // A call that was never accepted is told so in the same turn.
      queueMicrotask(() => queueMicrotask(() => this.#complain(open, `when connection ${member.index} has ended`)));
    }
  }

  received(member: Member, message: Message): void {
    const text = JSON.stringify(message);
    this.log(`connection ${member.index} gets ${text}`);
    if (member.state === 'left' || member.state === 'ended') {
      this.problem(`connection ${member.index} has ${member.state}, and gets ${text}`);
    }
    if (message.method === undefined) {
      this.#answered(member, message);
    } else if (message.method === 'notifications/progress' && message.params?.total === 2) {
      this.count('progress');
      const call = this.#calls.get(message.params?.call as number);
      if (call?.member !== member || call.token !== message.params?.progressToken) {
        this.problem(`connection ${member.index} gets the progress of another: ${text}`);
      }
    } else if (message.method === 'notifications/message') {
      this.count('log');
      const { owner, entry } = (message.params?.data ?? {}) as { owner: string; entry: Entry };
      if (!mayHear(member, entry, owner)) {
        this.problem(`connection ${member.index} gets the log of another: ${text}`);
      }
    }
  }

  #answered(member: Member, message: Message): void {
    const text = JSON.stringify(message);
    if (message.id === 'initialize') {
      return;
    }
    const call = member.calls.get(message.id as number);
    if (call === undefined) {
      return this.problem(`connection ${member.index} gets an answer to nothing: ${text}`);
    }
    call.answers += 1;
    if (call.answers > 1 || call.refused) {
      this.problem(`call ${call.number} has ${call.answers} answers: ${text}`);
    }
    const { structuredContent } = (message.result ?? {}) as { structuredContent?: { call: number } };
    if (message.error !== undefined) {
      this.#failed(call, message.error.data ?? {});
    } else if (structuredContent?.call !== call.number) {
      this.problem(`call ${call.number} of connection ${member.index} gets the answer of another: ${text}`);
    } else {
      this.count('answer');
    }
  }

  /** An answer of the gateway: is it true, and had it a reason? */
  #failed(call: Call, { code, delivered, server }: Record<string, unknown>): void {
    this.count(String(code));
    this.count(`delivered: ${String(delivered)}`);
    const name = `call ${call.number} is answered with ${String(code)}, delivered: ${String(delivered)}`;
    const now = this.#clock.now();
    const { seen } = call;
    call.toldUndelivered = delivered === false;
    if (seen !== undefined && delivered === false) {
      this.problem(`${name}, and its server had seen it`);
    }
    if (seen === undefined && delivered === true) {
      this.problem(`${name}, and no server had seen it`);
    }
    if (server !== undefined && server !== call.entry) {
      this.problem(`${name}, of server ${String(server)}`);
    }
    const endings = this.#operations.filter(({ what, entry }) => what !== 'start' && entry === call.entry);
    const ending = endings.filter(({ endedAt }) => endedAt >= call.sentAt);
    const fits: Readonly<Record<string, boolean>> = {
      REQUEST_TIMEOUT: now - (seen?.at ?? call.sentAt) >= requestTimeoutMs,
      SERVER_EXITED: seen === undefined || seen.server.died,
      SERVER_UNHEALTHY: seen === undefined || seen.server.deaf || seen.server.stuck,
      // Who was seen has had its grace.
      // A start that was stopped may take long to be cleared away, and who joins it meanwhile hears of the stop then.
      SERVER_STOPPED:
        ending.some(({ startedAt, graceMs }) => seen === undefined || startedAt + graceMs <= now) ||
        (seen === undefined && endings.length > 0),
      GATEWAY_CLOSED: ending.some(({ what }) => what === 'close'),
      // When the server ended while the call was being handed over.
      TRANSPORT_CLOSED: seen === undefined,
      START_FAILED: seen === undefined,
      START_TIMEOUT: seen === undefined,
      CRASH_LOOP: seen === undefined,
      LIMIT_REACHED: seen === undefined && this.#limits.starting !== undefined,
    };
    if (fits[String(code)] !== true) {
      this.problem(`${name}, without a reason`);
    }
  }

  // --- the host ---

  /** @returns to be called at its end */
  operation(what: Operation['what'], entry: Entry, graceMs: number): (error?: unknown) => void {
    const operation: Operation = {
      what,
      entry,
      startedAt: this.#clock.now(),
      graceMs,
      endedAt: Number.POSITIVE_INFINITY,
    };
    this.#operations.push(operation);
    const letGo = what === 'start' || what === 'restart' ? this.#rulesOf(entry).byHand() : () => {};
    return (error) => {
      this.log(`${what} ${entry} is done${error === undefined ? '' : `: ${String(error)}`}`);
      operation.endedAt = this.#clock.now();
      letGo();
      if (error !== undefined && !GatewayError.is(error)) {
        this.problem(`${what} of ${entry} fails with something else than a GatewayError: ${String(error)}`);
      }
    };
  }

  event(event: GatewayEvent): void {
    if (event.type !== 'phase') {
      return;
    }
    const { instance, from, to } = event;
    this.log(`${instance}: ${from} → ${to} ${event.reason?.code ?? ''}`);
    this.count(to);
    const before = this.#phases.get(instance) ?? 'idle';
    if (from !== before || !steps[from].split(' ').includes(to) || (from === 'idle' && this.#phases.has(instance))) {
      this.problem(`${instance} goes from ${from} to ${to}, and was ${before}`);
    }
    this.#phases.set(instance, to);
    const server = this.#servers.get(instance);
    if (server !== undefined && to === 'idle' && !this.#proved.has(server)) {
      this.#rulesOf(server.context.server).endedUnheard(this.#clock.now());
    }
    if (server === undefined || to !== 'stopping') {
      return;
    }
    // One that was started ahead is missed when the gateway says so, though nobody has used it yet.
    const isSpare = event.reason?.code === 'SERVER_EXITED' && !this.#clients.has(server) && server.closings === 0;
    if (isSpare || event.reason?.code === 'SERVER_UNHEALTHY') {
      this.#lost(server);
    }
  }

  // --- servers ---

  opening(context: RuntimeContext, opening: Opening): void {
    this.log(`${context.instanceId} opens: ${opening}`);
    this.#starting.add(context);
    const { starting, instances } = this.#limits;
    if (starting !== undefined && this.#starting.size > starting) {
      this.problem(`${this.#starting.size} starts at once, of ${starting}`);
    }
    if (instances !== undefined && this.#starting.size + this.#running.size > instances) {
      this.problem(`${this.#starting.size + this.#running.size} instances at once, of ${instances}`);
    }
    const problem = this.#rulesOf(context.server).started(this.#clock.now());
    // With limits a start waits after it was permitted, and others may fail meanwhile.
    if (problem !== undefined && starting === undefined) {
      this.problem(`${context.server} ${problem}`);
    }
  }

  notOpened(context: RuntimeContext, why: 'failed' | 'timed out' | 'aborted'): void {
    this.log(`${context.instanceId} does not open: ${why}`);
    this.#starting.delete(context);
    if (why !== 'aborted') {
      const forgive = this.#rulesOf(context.server).failed(this.#clock.now(), undefined);
      setImmediate(() => {
        const phase = this.#phases.get(context.instanceId);
        if (phase === 'stopping' || phase === 'idle') {
          // Who left in the turn of the failure was faster.
          forgive();
        }
      });
    }
  }

  opened(server: PlayedServer): void {
    this.log(`${server.context.instanceId} is open`);
    this.#starting.delete(server.context);
    this.#openedAt.set(server, this.#clock.now());
    this.#servers.set(server.context.instanceId, server);
    if (!server.context.signal.aborted) {
      this.#running.add(server);
    }
  }

  saw(server: PlayedServer, message: Message): void {
    if (message.method !== 'ping') {
      this.log(`${server.context.instanceId} sees ${JSON.stringify(message)}`);
    }
    if (message.id === firstOwnId) {
      // Asked for its era: one that ends by that is started afresh, which is no failure.
      return;
    }
    if (message.method === 'notifications/initialized' && !this.#clients.has(server)) {
      this.#clients.set(server, '');
    }
    if (message.method === 'initialize') {
      if (this.#clients.has(server)) {
        this.problem(`${server.context.instanceId} is initialized twice`);
      }
      this.#clients.set(server, ((message.params?.clientInfo ?? {}) as { name: string }).name);
      return;
    }
    const { call: number } = (message.params?.arguments ?? {}) as { call?: number };
    const call = number === undefined ? undefined : this.#calls.get(number);
    if (message.method !== 'tools/call' || call === undefined) {
      return;
    }
    const name = `call ${call.number}`;
    if (call.seen !== undefined) {
      this.problem(`${name} is seen twice`);
    }
    if (call.refused || call.toldUndelivered) {
      this.problem(`${name} is seen, after it was said that it was not delivered`);
    }
    if (server.context.server !== call.entry) {
      this.problem(`${name} to ${call.entry} is seen by ${server.context.server}`);
    }
    const owner = this.#owners.get(server) ?? ownerOf(call);
    this.#owners.set(server, owner);
    if (ownerOf(call) !== owner) {
      this.problem(`${name} of ${ownerOf(call)} is seen by a server of ${owner}`);
    }
    const known = server.context.caller;
    const { id, principal } = call.member.identity;
    if (known !== undefined && ((known.id ?? id) !== id || (known.principal ?? principal) !== principal)) {
      this.problem(
        `${name} of ${JSON.stringify(call.member.identity)} is seen by a server of ${JSON.stringify(known)}`,
      );
    }
    call.seen = { server, at: this.#clock.now() };
  }

  /** A server answers, to somebody who may not wait any more. */
  answers(server: PlayedServer, response: Message): void {
    if (this.#proved.has(server)) {
      return;
    }
    this.#rulesOf(server.context.server).answered();
    const { structuredContent } = (response.result ?? {}) as { structuredContent?: { call: number } };
    const call = structuredContent && this.#calls.get(structuredContent.call);
    if (call === undefined || isWaiting(call)) {
      this.#proved.add(server);
    }
  }

  /** Whose a server is, as far as its calls have shown. */
  ownerOf(server: PlayedServer): string | undefined {
    return this.#owners.get(server);
  }

  died(server: PlayedServer): void {
    this.log(`${server.context.instanceId} dies`);
    this.count('death');
    this.#running.delete(server);
    // For one that nobody has used yet see above.
    if (this.#clients.has(server) && server.closings === 0) {
      this.#lost(server);
    }
  }

  closing(server: PlayedServer): void {
    this.log(`${server.context.instanceId} is closed`);
    this.#running.delete(server);
    const abandoned = [...this.#calls.values()].filter((call) => call.seen?.server === server && isWaiting(call));
    const waiting = server.pending.filter(({ params }) =>
      abandoned.some(({ number }) => number === (params?.arguments as { call?: number } | undefined)?.call),
    );
    if (waiting.length > 0) {
      this.problem(`${server.context.instanceId} is closed, and ${waiting.length} calls wait for it`);
    }
  }

  #lost(server: PlayedServer): void {
    const livedMs = this.#clock.now() - (this.#openedAt.get(server) ?? 0);
    this.#rulesOf(server.context.server).failed(this.#clock.now(), livedMs);
  }

  // --- the end ---

  everybodyIsAnswered(when: string): void {
    this.#complain([...this.#calls.values()], when);
  }

  /** Nobody has done anything for a long time: what runs is in somebody's hands, or may run for ever. */
  everythingRests(servers: readonly PlayedServer[], members: readonly Member[]): void {
    const raw = new Set(
      members.filter(({ only, state }) => only === 'own' && state === 'open').map(({ index }) => `connection ${index}`),
    );
    const running = servers.filter((server) => !server.closed && !raw.delete(this.#clients.get(server) ?? ''));
    // One that reads nothing does not know whose it is.
    const surplus = running.filter((server) => !server.stuck || server.context.server !== 'own' || raw.size === 0);
    if (this.#hasIdle && surplus.length > 0) {
      this.problem(`${surplus.map(({ context }) => context.instanceId).join(', ')} never rests`);
    }
  }

  nothingIsLeft(servers: readonly PlayedServer[], members: readonly Member[]): void {
    for (const { context } of servers.filter(({ closed }) => !closed)) {
      this.problem(`${context.instanceId} is open after close()`);
    }
    for (const { index, closes } of members.filter(({ closes }) => closes !== 1)) {
      this.problem(`connection ${index} has ended ${closes} times after close()`);
    }
    for (const [instance, phase] of this.#phases) {
      if (!ends.includes(phase)) {
        this.problem(`${instance} is ${phase} after close()`);
      }
    }
    if (this.#clock.waiting > 0) {
      this.problem(`${this.#clock.waiting} timers are left after close()`);
    }
  }

  #complain(calls: readonly Call[], when: string): void {
    for (const { number } of calls.filter(isWaiting)) {
      this.problem(`call ${number} has no answer ${when}`);
    }
  }

  #rulesOf(entry: string): RestartRules {
    return this.#rules.get(entry) as RestartRules;
  }
}
