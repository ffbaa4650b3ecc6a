import {
  createGateway,
  type Gateway,
  type Interceptor,
  type RuntimeContext,
  type ServerDescription,
} from '../../../src/index.js';
import type { RequestId } from '../../../src/sdk.js';
import type { Json } from '../../endpoint/scripted-server.js';
import { FakeClock, settle } from '../../support/fake-clock.js';
import type { Chance } from './chance.js';
import { Entries, type Generation } from './entries.js';
import { Host, mostMebibytes } from './host.js';
import { type Call, type How, Judge, type Sent } from './judge.js';
import { MeasuredRuntime } from './measured.js';
import { isThere, type Member, withEnvelope } from './members.js';
import { allowsTask } from './played-tasks.js';
import { type Held, markOf, type Opening, PlayedServers, uriOf } from './servers.js';
import { isHidden, taskOf } from './task-judge.js';

export type What = 'slow' | 'go' | 'now' | 'ask' | 'read' | 'complete';

/** One gateway with its catalog, its servers, its callers and its time, and who judges them. */
export class World {
  readonly judge = new Judge();
  readonly clock = new FakeClock();
  readonly entries: Entries;
  readonly servers: PlayedServers;
  readonly host: Host;
  readonly gateway: Gateway;
  readonly members: Member[] = this.judge.members;
  /** Much of what happens is about tasks. */
  readonly isAboutTasks: boolean;
  nextOpen: Opening = 'at once';
  readonly doors: (() => void)[] = [];
  /** What a connection did not take: it has to be at its end. */
  readonly unsent: { readonly sent: Sent; readonly why: string }[] = [];
  readonly watched: { readonly sent: Sent; readonly run: () => void }[] = [];
  readonly #opening = new Set<RuntimeContext>();
  readonly #descriptions = new Map<Generation, ServerDescription>();
  #next = 1;
  /** What has happened since may not be known yet everywhere. */
  #pausedAt = 0;

  constructor(chance: Chance) {
    const { judge } = this;
    this.servers = new PlayedServers({
      generation: (number) => this.entries.generation(number),
      onCall: (instance, request) => {
        const call = judge.arrived(instance, request);
        const isNow = request.params?.name === 'now' && call !== undefined;
        return isNow ? this.complete({ instance, request, rounds: 0 }) : undefined;
      },
      opening: (context) => this.opening(context),
      onCheck: (request, instance, answer) => judge.healths.asked(request, instance, answer),
      onLevel: (instance, level) => judge.levels.told(instance, level),
      onDeath: ({ context }) => judge.causes.add('death', context.server),
      question: (instance, task) => judge.tasks.question(instance, task, this.number()),
      dropped: (question) => judge.over(question),
      onClose: (instance) => judge.tasks.closed(instance),
      updated: (...update) => judge.tasks.updated(...update),
    });
    judge.servers = this.servers;
    judge.nowMs = () => this.clock.now();
    this.entries = new Entries(chance, (id) => this.servers.create(id));
    judge.entries = this.entries;
    const intercept = chance.oneIn(2) ? this.intercept : undefined;
    judge.intercepts = intercept !== undefined;
    this.host = new Host(judge, chance);
    judge.limits = this.host.limits;
    judge.authorizes = this.host.authorizes;
    this.gateway = createGateway(this.entries.catalog as never, {
      ...this.host.options,
      clock: this.clock,
      intercept,
      runtimes: [new MeasuredRuntime((instance, signal) => judge.healths.live(instance, signal))],
    });
    this.isAboutTasks = chance.oneIn(3);
    this.describe();
    const { limits, authorizes } = this.host;
    judge.log(
      `setting: ${JSON.stringify([this.entries.catalog, limits, { authorizes, intercepts: judge.intercepts }])}`,
    );
  }

  /** One that nothing else has. */
  number(): number {
    return this.#next++;
  }

  /** Remembers what the gateway says that it would start now. */
  describe(): void {
    for (const id of this.entries.ids) {
      this.#descriptions.set(this.entries.of(id).generation, this.gateway.describe(id));
    }
  }

  async opening(context: RuntimeContext): Promise<Opening> {
    const { server, env } = context;
    this.host.checkAllowed(this.#descriptions.get(this.entries.generation(env.GENERATION)) as ServerDescription);
    this.#opening.add(context);
    this.#checkLimits();
    return this.#open(server).finally(() => this.#opening.delete(context));
  }

  /** @param isQuiet - what was given up is gone, so that what runs counts too */
  #checkLimits(isQuiet = false): void {
    const { starting = Number.POSITIVE_INFINITY, instances = Number.POSITIVE_INFINITY } = this.host.limits ?? {};
    // What is given up may go on, and a runtime may take some time to clear it.
    const opening = [...this.#opening].filter(({ signal }) => !signal.aborted).length;
    const live = this.entries.servers.flatMap((server) => server.live.map((each) => this.judge.name(each)));
    const running = this.entries.servers.flatMap((server) => server.live.map((each) => each.context.server));
    const used = [...running, ...[...this.#opening].filter(({ signal }) => !signal.aborted).map((each) => each.server)];
    const mebibytes = used.reduce((sum, id) => sum + (this.entries.of(id).mebibytes ?? 0), 0);
    const most = this.host.limits?.memory === undefined ? Number.POSITIVE_INFINITY : mostMebibytes;
    if (opening > starting || (isQuiet && (opening + live.length > instances || mebibytes > most))) {
      const text = `${opening} servers start, and ${live} run, within ${JSON.stringify(this.host.limits)}`;
      this.judge.problem(`${text}: ${JSON.stringify(this.gateway.status())}`);
    }
  }

  async #open(server: string): Promise<Opening> {
    const how = this.nextOpen;
    this.nextOpen = 'at once';
    if (how === 'wait') {
      const end = this.judge.causes.begin('held start', server);
      await new Promise<void>((resolve) => this.doors.push(resolve));
      end();
    } else if (how === 'fail') {
      this.judge.causes.add('failed start', server);
    }
    return how;
  }

  openDoors(): void {
    for (const open of this.doors.splice(0)) {
      open();
    }
    this.host.door = undefined;
  }

  /** The answer to a call: whose it is, and from where. */
  complete({ instance, request }: Held): Json {
    const { n, c } = markOf(request.params);
    const mark = { n, c, server: instance.context.server };
    const memory = this.servers.memory(instance);
    const call = this.judge.calls.get(n as number);
    if (call?.at?.instance === instance && call.at.id === request.id) {
      call.isAnswered = true;
    }
    const isTask =
      memory.generation.era === 'legacy'
        ? request.params?.task !== undefined
        : request.params?.name !== 'now' && (this.isAboutTasks || Number(n) % 2 === 0) && allowsTask(request);
    if (isTask && request.method === 'tools/call') {
      const created = memory.tasks.create(mark);
      if (call !== undefined) {
        isHidden(call) && this.judge.count('hidden task');
        call.task = {
          instance,
          taskId: taskOf(created)?.taskId,
          progressToken: request.params?._meta?.progressToken,
          since: this.judge.lines.length,
          sinceMs: this.clock.now(),
        };
      }
      return created;
    }
    const modern = memory.generation.era === 'modern' ? { resultType: 'complete' } : {};
    const empty = {
      'tools/call': { content: [] },
      'prompts/get': { messages: [] },
      'resources/read': { contents: [] },
      'completion/complete': { completion: { values: [] } },
    }[request.method];
    return { ...modern, ...empty, structuredContent: mark };
  }

  /** Makes a call, of a tool or of something else, that says whose it is. */
  call(member: Member, server: string, what: What, how: How, id?: RequestId, token?: RequestId, isTask = false): Sent {
    const number = this.number();
    const call: Call = {
      number,
      member,
      server,
      how,
      isTask: isTask || (what === 'slow' && member.era === 'modern'),
      since: this.#pausedAt,
      sentMs: this.clock.now(),
      token,
      arrivals: [],
      at: undefined,
      isAnswered: false,
      toldOff: false,
      task: undefined,
      isTaskToldOff: false,
      requests: 0,
      level: member.level,
      isLevelSettled: member.isLevelSettled,
    };
    this.judge.calls.set(number, call);
    const name = member.to === undefined ? `${server}__${what}` : what;
    const mark = { n: number, c: member.index, how };
    const [method, own] = (
      {
        ask: ['prompts/get', { name }],
        read: ['resources/read', { uri: uriOf(server, 1) }],
        complete: ['completion/complete', { ref: { type: 'ref/prompt', name }, argument: { name: 'x', value: '' } }],
        slow: ['tools/call', { name, arguments: mark }],
        go: ['tools/call', { name, arguments: mark }],
        now: ['tools/call', { name, arguments: mark }],
      } as const
    )[what];
    const meta = { ...(method !== 'tools/call' && { mark }), ...(token !== undefined && { progressToken: token }) };
    const params = {
      ...own,
      ...(isTask && method === 'tools/call' && { task: { ttl: 60_000 } }),
      ...(Object.keys(meta).length > 0 && { _meta: meta }),
    };
    return this.request(member, method, params, { id, call, token });
  }

  /** Whether what has happened then is known everywhere. */
  isKnown(when: number): boolean {
    return when < this.#pausedAt;
  }

  /** Sends a request, and remembers it. */
  request(
    member: Member,
    method: string,
    params: Json,
    {
      id,
      call,
      token,
      isTheft = false,
    }: { id?: RequestId | undefined; call?: Call; token?: RequestId | undefined; isTheft?: boolean },
  ): Sent {
    const number = this.number();
    const own = id ?? `${method} ${number}`;
    const level = member.era === 'modern' ? member.level : undefined;
    const when = { since: this.#pausedAt, sentMs: this.clock.now() };
    const mark = { number, member, id: own, method, params, token, call, isTheft, level, ...when };
    const sent: Sent = { ...mark, answers: 0, cancelled: false };
    this.judge.sent.push(sent);
    if (call !== undefined) {
      call.requests += 1;
      call.level = member.level;
      call.isLevelSettled = member.isLevelSettled;
    }
    member.open.set(own, sent);
    this.judge.log(
      `${this.judge.who(member)} sends ${number}: ${method} ${JSON.stringify(own)} ${JSON.stringify(params)}`,
    );
    this.send(member, { id: own, method, params: withEnvelope(member, params) }, sent);
    return sent;
  }

  send(member: Member, message: Json, sent?: Sent): void {
    member.send({ jsonrpc: '2.0', ...message }).catch((error: { code?: string }) => {
      this.judge.log(`${this.judge.who(member)} could not send ${JSON.stringify(message)}: ${String(error)}`);
      // What was not accepted is not answered.
      if (sent !== undefined) {
        sent.cancelled = true;
        member.open.delete(sent.id);
      }
      if (error.code !== 'SERVER_UNKNOWN' && sent !== undefined) {
        this.unsent.push({ sent, why: String(error) });
      }
    });
  }

  /** Does something with the answer once it is there. */
  watch(sent: Sent, run: () => void): void {
    this.watched.push({ sent, run });
  }

  /** Lets everything happen that waits for nothing but its turn, and looks whether it was right. */
  async pause(): Promise<void> {
    this.#pausedAt = this.judge.lines.length;
    for (let turn = 0; turn < 3; turn += 1) {
      await settle();
    }
    for (const { sent, why } of this.unsent.splice(0)) {
      if (isThere(sent.member)) {
        this.judge.problem(`${this.judge.who(sent.member)} could not send ${sent.number} (${sent.method}): ${why}`);
      }
    }
    for (const { sent, run } of this.watched.splice(0)) {
      sent.answers > 0 ? run() : this.watched.push({ sent, run });
    }
    for (const member of this.members) {
      member.isReady && member.crossing.clear();
    }
    this.judge.checkQuestions(false);
    this.judge.checkWithdrawn();
    this.judge.checkOfRequests();
    this.judge.healths.look();
    this.host.look(this.gateway, this.entries);
    this.#checkLimits(true);
  }

  async passTime(ms: number): Promise<void> {
    this.judge.log(`${ms} ms pass`);
    await this.clock.advance(ms);
    await this.pause();
  }

  readonly intercept: Interceptor = async ({ caller, params }, next) => {
    const { n, c, how } = markOf(params);
    if (n === undefined || params.requestState !== undefined) {
      return next();
    }
    const data = caller.data as { c: number; n?: number } | undefined;
    const member = this.members[c as number];
    if ((member?.caller === undefined ? undefined : c) !== data?.c || (data?.n !== undefined && data.n !== n)) {
      this.judge.problem(`the interceptor is told that call ${n} of ${c} is of ${JSON.stringify(data)}`);
    }
    switch (how) {
      case 'refuse':
        throw Object.assign(new Error('refused'), { code: 4003 });
      case 'wait':
        await new Promise((resolve) => this.clock.setTimeout(() => resolve(undefined), 50));
        return next();
      case 'replace': {
        const result = await next();
        return { ...result, replaced: true };
      }
      default:
        return next();
    }
  };
}
