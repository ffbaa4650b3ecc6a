import { createGateway, type Gateway } from '../../src/index.js';
import { isRequest, type JSONRPCMessage, type JSONRPCRequest, type RequestId, type Transport } from '../../src/sdk.js';
import { FakeClock, settle } from '../support/fake-clock.js';
import { hold, type Json, type ScriptedInstance, ScriptedServer } from './scripted-server.js';

/** A call as the caller remembers it. */
interface Sent {
  readonly number: number;
  readonly caller: number;
  readonly server: string;
  readonly id: RequestId;
  readonly token: RequestId | undefined;
  answers: number;
  cancelled: boolean;
  /** Where it was delivered, and under which id. */
  at: { readonly instance: ScriptedInstance; readonly id: RequestId } | undefined;
  /** Whether the server had answered; from then on it need not hear of a cancellation. */
  answered: boolean;
  /** Its server has to hear that nobody waits any more. */
  toldOff: boolean;
}

/** What a server asked of its caller. */
interface Asked {
  readonly number: number;
  readonly group: string;
  readonly instance: ScriptedInstance;
  readonly id: RequestId;
  answers: number;
  withdrawn: boolean;
}

interface Member {
  readonly index: number;
  /** Connections of one caller share its servers, and so what these say to nobody in particular. */
  readonly group: string;
  readonly transport: Transport;
  readonly open: Map<RequestId, Sent>;
  /** Ids that were cancelled since the last pause: an answer may have crossed the cancellation. */
  readonly crossing: Map<RequestId, Sent>;
  readonly asked: { readonly id: RequestId; readonly params: Json }[];
  closed: boolean;
}

const untouched = { cancelled: false, at: undefined, answered: false, toldOff: false };
const ids: readonly RequestId[] = [0, 1, 2, '1', 'x'];
const tokens: readonly (RequestId | undefined)[] = [undefined, 0, 1, '1'];
// Never given out to a server as ids or tokens, nor the numbers of such.
const foreign: readonly RequestId[] = [0, -1, '0', 'x', '', 1_000_000];
const servers = ['a', 'b', 'c'];
// Who has an id is one caller, with two connections.
const callers = [undefined, 'same', 'same', 'other', 'other', undefined];
/** A server that has ended may still be told of things; so long ago does nobody look any more. */
const graceMs = 30_000;

/**
 * Several callers, several servers, and whatever may happen between them, one step for each number. Every payload says for
 * whom it is, so that whoever gets it can tell whether it is his; what is not goes to `problems`.
 */
export class Schedule {
  readonly problems: string[] = [];
  readonly log: string[] = [];
  readonly counts = new Map<string, number>();

  readonly #clock = new FakeClock();
  readonly #gateway: Gateway;
  readonly #servers: ReadonlyMap<string, ScriptedServer>;
  readonly #members: Member[] = [];
  readonly #sent: Sent[] = [];
  readonly #asked: Asked[] = [];
  // By instance: requests that the server has not answered, and those that it has.
  readonly #pending = new Map<ScriptedInstance, JSONRPCRequest[]>();
  readonly #done = new Map<ScriptedInstance, JSONRPCRequest[]>();
  readonly #delivered = new Set<number>();
  #doors: (() => void)[] = [];
  #nextOpen: 'at once' | 'wait' | 'fail' | 'die in handshake' | 'die after handshake' = 'at once';
  #nextNumber = 1;

  constructor() {
    this.#servers = new Map(servers.map((id) => [id, this.#createServer()]));
    this.#gateway = createGateway(
      {
        servers: [...this.#servers].map(([id, { runtime }]) => ({
          id,
          runtime,
          isolation: id === 'c' ? 'shared' : 'caller',
          request_timeout: '60s',
          // As often as may be: here servers die for a living.
          restart: { max: 1_000, backoff: '1ms', max_backoff: '1ms' },
        })),
      },
      { clock: this.#clock },
    );
    for (let index = 0; index < 4; index += 1) {
      this.#join();
    }
  }

  async step(number: number): Promise<void> {
    const random = createRandom(number);
    const member = random.of(this.#members.filter(({ closed }) => !closed));
    const instance = random.of([...this.#servers.values()].flatMap(({ live }) => live));
    const steps: [number, () => void | Promise<void>][] = [
      [20, () => this.#pause()],
      [24, () => member && this.#call(member, random)],
      [5, () => member && this.#cancel(member, random)],
      [16, () => instance && this.#answer(instance, random)],
      [4, () => instance && this.#repeatAnswer(instance, random)],
      [2, () => instance && this.#answerUnknown(instance, random)],
      [8, () => instance && this.#progress(instance, random)],
      [5, () => instance && this.#say(instance)],
      [8, () => instance && this.#ask(instance, random)],
      [2, () => instance && this.#withdraw(instance, random)],
      [8, () => member && this.#respond(member, random)],
      [3, () => member && this.#list(member, random)],
      [3, () => this.#prepareOpen(random)],
      [3, () => this.#openDoor()],
      [3, () => instance && this.#die(instance)],
      [1, () => this.#passTime()],
      [1, () => member && this.#leave(member)],
      [1, () => void (this.#members.length < callers.length && this.#join())],
    ];
    let at = random.below(steps.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, run] of steps) {
      if (at < weight) {
        await run();
        return;
      }
      at -= weight;
    }
  }

  /** Lets every server answer what it holds, then looks whether every caller has its answers. */
  async finish(): Promise<void> {
    this.#nextOpen = 'at once';
    for (let round = 0; round < 5; round += 1) {
      await settle();
      this.#openDoor();
      await this.#clock.advance(graceMs);
      for (const [instance, requests] of this.#pending) {
        for (const request of requests.splice(0)) {
          this.#respondTo(instance, request);
        }
      }
    }
    for (const look of this.#looks) {
      look();
    }
    for (const sent of this.#sent) {
      const left = this.#members[sent.caller]?.closed === true;
      if (sent.answers > 1 || (sent.answers === 0 && !sent.cancelled && !left)) {
        this.#problem(`call ${sent.number} of caller ${sent.caller} has ${sent.answers} answers`);
      }
    }
    this.#checkCancellations();
    for (const asked of this.#asked) {
      if (asked.answers > 1) {
        this.#problem(`question ${asked.number} to ${asked.group} has ${asked.answers} answers`);
      }
    }
  }

  async close(): Promise<void> {
    this.#openDoor();
    const closing = this.#gateway.close({ graceMs: 0 });
    await this.#clock.advance(graceMs);
    await closing;
    const live = [...this.#servers.values()].flatMap((server) => server.live);
    if (live.length > 0) {
      this.#problem(`${live.length} servers are left after the gateway was closed`);
    }
    if (this.#clock.waiting > 0) {
      this.#problem(`${this.#clock.waiting} timers are left after the gateway was closed`);
    }
  }

  /** Each cancellation belongs to the call that was cancelled, and reaches its server while that runs. */
  #checkCancellations(): void {
    const instances = [...this.#servers.values()].flatMap((server) => server.instances);
    for (const instance of instances) {
      for (const { params } of instance.notifications('notifications/cancelled')) {
        const sent = this.#sent.find(({ number }) => String(number) === params?.reason);
        if (sent !== undefined && (sent.at?.instance !== instance || sent.at.id !== params?.requestId)) {
          this.#problem(`the cancellation of call ${sent.number} is of another request: ${JSON.stringify(params)}`);
        }
      }
    }
    for (const { number, at, toldOff } of this.#sent) {
      const heard = at?.instance
        .notifications('notifications/cancelled')
        .some(({ params }) => params?.requestId === at.id);
      if (toldOff && heard === false && at?.instance.closed === false) {
        this.#problem(`the server goes on with call ${number}, which was cancelled`);
      }
    }
  }

  // --- callers ---

  #join(): void {
    const index = this.#members.length;
    const id = callers[index];
    const transport = this.#gateway.connect({ caller: { id, data: index } });
    const group = id ?? String(index);
    const member: Member = { index, group, transport, open: new Map(), crossing: new Map(), asked: [], closed: false };
    this.#members.push(member);
    transport.onmessage = (message) => this.#received(member, message);
    void transport.start();
    const params = {
      protocolVersion: '2025-11-25',
      capabilities: { sampling: {} },
      clientInfo: { name: `caller ${index}`, version: '1' },
    };
    this.#send(member, { id: 'initialize', method: 'initialize', params });
  }

  #call(member: Member, random: Random): void {
    const id = random.of(ids) as RequestId;
    if (member.open.has(id) || member.crossing.has(id)) {
      return;
    }
    const server = random.of(servers) as string;
    const token = random.of(tokens);
    const number = this.#nextNumber++;
    const sent: Sent = { number, caller: member.index, server, id, token, answers: 0, ...untouched };
    this.#sent.push(sent);
    member.open.set(id, sent);
    // A name that ends like a hash is looked up in the server's list first.
    const name = random.of([`${server}__tool`, `${server}__tool_0123456789`]);
    const _meta = { ...(token !== undefined && { progressToken: token }), kept: number };
    this.#log(
      `caller ${member.index} calls ${name}: call ${number}, id ${JSON.stringify(id)}, token ${JSON.stringify(token)}`,
    );
    this.#send(member, {
      id,
      method: 'tools/call',
      params: { name, arguments: { call: number, caller: member.index }, _meta },
    });
  }

  #cancel(member: Member, random: Random): void {
    const sent = random.of([...member.open.values()]);
    if (sent !== undefined) {
      this.#count('cancel');
      this.#log(`caller ${member.index} cancels call ${sent.number}`);
      sent.cancelled = true;
      sent.toldOff = !sent.answered;
      member.open.delete(sent.id);
      member.crossing.set(sent.id, sent);
      this.#send(member, {
        method: 'notifications/cancelled',
        params: { requestId: sent.id, reason: String(sent.number) },
      });
    }
  }

  #list(member: Member, random: Random): void {
    const method = random.of(['tools/list', 'ping', 'no/such', 'resources/read', 'prompts/get']);
    const params = { uri: 'x://nobody', name: 'nobody' };
    const id = `${method} ${this.#nextNumber++}`;
    const sent: Sent = {
      number: -1,
      caller: member.index,
      server: '',
      id,
      token: undefined,
      answers: 0,
      ...untouched,
    };
    this.#sent.push(sent);
    member.open.set(id, sent);
    this.#log(`caller ${member.index} asks ${method}`);
    this.#send(member, { id, method, params });
  }

  #respond(member: Member, random: Random): void {
    const asked = random.of(member.asked);
    if (asked === undefined || random.below(5) === 0) {
      // An answer that nobody waits for, or an id that was never given out.
      this.#send(member, { id: random.below(20) + 1_000_000, result: { nobody: true } });
      return;
    }
    if (random.below(3) > 0) {
      member.asked.splice(member.asked.indexOf(asked), 1);
    } // else it will be answered again, later
    const token = (asked.params._meta as Json | undefined)?.progressToken;
    if (token !== undefined && random.below(2) === 0) {
      this.#send(member, {
        method: 'notifications/progress',
        params: { progressToken: token, progress: 1, number: asked.params.number },
      });
    }
    this.#log(`caller ${member.index} answers question ${String(asked.params.number)}`);
    this.#send(member, { id: asked.id, result: { number: asked.params.number, group: member.group } });
  }

  #leave(member: Member): void {
    this.#log(`caller ${member.index} leaves`);
    member.closed = true;
    void member.transport.close();
  }

  #send(member: Member, message: Json): void {
    member.transport.send({ jsonrpc: '2.0', ...message } as JSONRPCMessage).catch((error: unknown) => {
      if (!member.closed) {
        this.#problem(`caller ${member.index} could not send: ${String(error)}`);
      }
    });
  }

  #received(member: Member, message: JSONRPCMessage): void {
    const text = JSON.stringify(message);
    this.#log(`caller ${member.index} gets ${text}`);
    if (member.closed) {
      return this.#problem(`caller ${member.index} has left, and gets ${text}`);
    }
    if (!('method' in message)) {
      return this.#answered(member, message as unknown as Json);
    }
    const params = (message.params ?? {}) as Json;
    if (isRequest(message)) {
      this.#count('server request');
      if (params.group !== member.group) {
        this.#problem(`caller ${member.index} gets a question to another: ${text}`);
      }
      if (member.asked.some(({ id }) => id === message.id)) {
        this.#problem(`two open questions to caller ${member.index} have one id: ${text}`);
      }
      member.asked.push({ id: message.id, params });
    } else if (message.method === 'notifications/progress') {
      if (params.total === undefined) {
        return; // of the start, by the gateway
      }
      this.#count('progress');
      const sent = [...member.open.values(), ...member.crossing.values()].find(({ number }) => number === params.call);
      if (sent === undefined || sent.token !== params.progressToken) {
        this.#problem(`caller ${member.index} gets progress that is of none of its open calls: ${text}`);
      }
    } else if (message.method === 'notifications/message') {
      this.#count('log');
      if ((params.data as Json).group !== member.group) {
        this.#problem(`caller ${member.index} gets the log of another: ${text}`);
      }
    } else if (message.method === 'notifications/cancelled') {
      const index = member.asked.findIndex(({ id }) => id === params.requestId);
      const [question] = index === -1 ? [] : member.asked.splice(index, 1);
      // Without a number in it, it is the gateway's, for a server that has ended.
      if (/^\d+$/.test(String(params.reason)) && question && String(question.params.number) !== params.reason) {
        this.#problem(`caller ${member.index} hears that another question is withdrawn: ${text}`);
      }
    }
  }

  #answered(member: Member, message: Json): void {
    const id = message.id as RequestId;
    if (id === 'initialize') {
      return;
    }
    const sent = member.open.get(id) ?? member.crossing.get(id);
    if (sent === undefined) {
      return this.#problem(`caller ${member.index} gets an answer to nothing: ${JSON.stringify(message)}`);
    }
    sent.answers += 1;
    member.open.delete(id);
    const { structuredContent } = (message.result ?? {}) as { structuredContent?: Json };
    const error = message.error as { data?: Json } | undefined;
    const mark = structuredContent ?? (error?.data?.call === undefined ? undefined : error.data);
    if (mark !== undefined) {
      this.#count('answer');
      if (mark.call !== sent.number || mark.caller !== member.index || mark.server !== sent.server) {
        this.#problem(`call ${sent.number} of caller ${member.index} gets ${JSON.stringify(message)}`);
      }
    } else if (error !== undefined) {
      this.#count('failure');
      const { server, delivered, code } = error.data ?? {};
      code === 'REQUEST_TIMEOUT' && this.#count('time-out');
      if (sent.server !== '' && server !== undefined && server !== sent.server) {
        this.#problem(`call ${sent.number} to ${sent.server} gets ${JSON.stringify(message)}`);
      }
      if (delivered === false && this.#delivered.has(sent.number)) {
        this.#problem(`call ${sent.number} was delivered: ${JSON.stringify(message)}`);
      }
    }
  }

  // --- servers ---

  #createServer(): ScriptedServer {
    return new ScriptedServer({
      capabilities: { tools: {}, logging: {} },
      open: async () => {
        const how = this.#nextOpen;
        this.#nextOpen = 'at once';
        if (how === 'wait') {
          await new Promise<void>((resolve) => this.#doors.push(resolve));
        } else if (how === 'fail') {
          throw new Error('this start fails');
        } else if (how !== 'at once') {
          this.#nextOpen = how;
        }
      },
      on: {
        initialize: (request, instance) => {
          const how = this.#nextOpen;
          if (how === 'die in handshake') {
            this.#nextOpen = 'at once';
            instance.die();
            return hold;
          }
          instance.answer(request, {
            protocolVersion: '2025-11-25',
            capabilities: instance.server.capabilities,
            serverInfo: { name: instance.context.server, version: '1' },
          });
          if (how === 'die after handshake') {
            this.#nextOpen = 'at once';
            instance.die();
          }
          return hold;
        },
        'tools/list': (request, instance) => this.#hold(request, instance),
        'tools/call': (request, instance) => this.#called(request, instance),
      },
    });
  }

  #called(request: JSONRPCRequest, instance: ScriptedInstance): typeof hold {
    const { call, caller } = (request.params?.arguments ?? {}) as { call: number; caller: number };
    const sent = this.#sent.find(({ number }) => number === call);
    const group = groupOf(instance);
    const at = `${instance.context.server} of ${group}`;
    this.#log(`${at} gets call ${call} under id ${JSON.stringify(request.id)}`);
    if (sent?.server !== instance.context.server || (group !== everybody && group !== this.#members[caller]?.group)) {
      this.#problem(`call ${call} of caller ${caller} reaches the server ${at}`);
    }
    if (this.#delivered.has(call)) {
      this.#problem(`call ${call} was delivered twice`);
    }
    this.#delivered.add(call);
    if (sent !== undefined) {
      sent.at = { instance, id: request.id };
    }
    const { kept, progressToken } = (request.params?._meta ?? {}) as Json;
    if (kept !== call || (progressToken === undefined) !== (sent?.token === undefined)) {
      this.#problem(`call ${call} has lost something of its _meta: ${JSON.stringify(request)}`);
    }
    return this.#hold(request, instance);
  }

  #hold(request: JSONRPCRequest, instance: ScriptedInstance): typeof hold {
    const pending = this.#pending.get(instance) ?? [];
    const same = [...pending, ...(this.#done.get(instance) ?? [])].some(({ id }) => id === request.id);
    if (same) {
      this.#problem(`two requests to one server have the id ${JSON.stringify(request.id)}`);
    }
    pending.push(request);
    this.#pending.set(instance, pending);
    return hold;
  }

  #respondTo(instance: ScriptedInstance, request: JSONRPCRequest, isError = false): void {
    const done = this.#done.get(instance) ?? [];
    this.#done.set(instance, done);
    done.push(request);
    if (request.method === 'tools/list') {
      instance.answer(request, { tools: [{ name: 'tool' }, { name: 'tool_0123456789' }] });
      return;
    }
    const mark = { ...(request.params?.arguments as Json), server: instance.context.server };
    const sent = this.#sent.find(({ number }) => number === (mark as Json).call);
    if (sent !== undefined) {
      sent.answered = true;
    }
    if (isError) {
      instance.say({ id: request.id, error: { code: -32050, message: 'no', data: mark } });
    } else {
      instance.answer(request, { content: [], structuredContent: mark });
    }
  }

  #answer(instance: ScriptedInstance, random: Random): void {
    const pending = this.#pending.get(instance) ?? [];
    const request = random.of(pending);
    if (request !== undefined) {
      pending.splice(pending.indexOf(request), 1);
      const cancelled = instance
        .notifications('notifications/cancelled')
        .some(({ params }) => params?.requestId === request.id);
      cancelled && this.#count('late');
      this.#respondTo(instance, request, random.below(4) === 0);
    }
  }

  #repeatAnswer(instance: ScriptedInstance, random: Random): void {
    const request = random.of(this.#done.get(instance) ?? []);
    request && this.#respondTo(instance, request);
  }

  #answerUnknown(instance: ScriptedInstance, random: Random): void {
    instance.answer({ id: random.of(foreign) as RequestId }, { structuredContent: { call: -1 } });
  }

  #progress(instance: ScriptedInstance, random: Random): void {
    const request = random.of([...(this.#pending.get(instance) ?? []), ...(this.#done.get(instance) ?? [])]);
    const progressToken = request?.params?._meta?.progressToken ?? random.of(foreign);
    const { call } = (request?.params?.arguments ?? {}) as Json;
    // Without a token of a request it is progress of nothing, and must come to nobody.
    const known = request?.params?._meta?.progressToken !== undefined;
    instance.notify('notifications/progress', {
      progressToken,
      progress: 1,
      total: 2,
      call: known ? call : -1,
    });
  }

  #say(instance: ScriptedInstance): void {
    const { server } = instance.context;
    instance.notify('notifications/message', { level: 'info', data: { group: groupOf(instance), server } });
  }

  #ask(instance: ScriptedInstance, random: Random): void {
    const id = random.of(ids) as RequestId;
    const busy = this.#asked.some((asked) => asked.instance === instance && asked.id === id);
    if (busy) {
      return;
    }
    const number = this.#nextNumber++;
    const group = groupOf(instance);
    const asked: Asked = { number, group, instance, id, answers: 0, withdrawn: false };
    this.#asked.push(asked);
    const progressToken = random.of(tokens);
    this.#log(`${instance.context.server} asks ${group}: question ${number}, id ${JSON.stringify(id)}`);
    const params = { number, group, ...(progressToken !== undefined && { _meta: { progressToken } }) };
    instance.say({ id, method: 'sampling/createMessage', params });
    const look = () => {
      const answers = instance.answers(id);
      asked.answers = answers.length;
      for (const answer of answers) {
        const result = answer.result as Json | undefined;
        if (result !== undefined) {
          this.#count('server answer');
          if (result.number !== number || result.group !== group) {
            this.#problem(`question ${number} to ${group} is answered with ${JSON.stringify(answer)}`);
          }
        }
      }
      for (const { params: progress } of instance.notifications('notifications/progress')) {
        const about = this.#asked.find((each) => each.number === progress?.number);
        if (about?.instance !== instance) {
          this.#problem(`progress for another server: ${JSON.stringify(progress)}`);
        }
      }
    };
    this.#looks.push(look);
  }
  readonly #looks: (() => void)[] = [];

  #withdraw(instance: ScriptedInstance, random: Random): void {
    const asked = random.of(this.#asked.filter((each) => each.instance === instance && !each.withdrawn));
    if (asked !== undefined) {
      asked.withdrawn = true;
      instance.notify('notifications/cancelled', { requestId: asked.id, reason: String(asked.number) });
    }
  }

  #prepareOpen(random: Random): void {
    this.#nextOpen = random.of(['wait', 'wait', 'fail', 'die in handshake', 'die after handshake'] as const) ?? 'wait';
    this.#log(`the next start: ${this.#nextOpen}`);
  }

  #openDoor(): void {
    for (const open of this.#doors.splice(0)) {
      open();
    }
  }

  #die(instance: ScriptedInstance): void {
    this.#count('death');
    this.#log(`${instance.context.server} of ${groupOf(instance)} dies`);
    this.#pending.delete(instance);
    instance.die();
  }

  // --- both ---

  async #pause(): Promise<void> {
    await settle();
    for (const member of this.#members) {
      member.crossing.clear();
    }
    for (const look of this.#looks) {
      look();
    }
  }

  /** Long enough, a few times, for calls to time out. */
  async #passTime(): Promise<void> {
    this.#log('time goes by');
    await this.#clock.advance(graceMs);
    await this.#pause();
  }

  #problem(text: string): void {
    this.problems.push(text);
  }

  #log(text: string): void {
    this.log.push(text);
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }
}

const everybody = 'everybody';

/** Who shares this instance. */
function groupOf({ context: { caller, server } }: ScriptedInstance): string {
  return server === 'c' ? everybody : (caller?.id ?? String(caller?.data));
}

interface Random {
  below(limit: number): number;
  of<T>(items: readonly T[]): T | undefined;
}

/** The same numbers for the same seed. */
function createRandom(seed: number): Random {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number) => Math.floor(next() * limit);
  return { below, of: (items) => items[below(items.length)] };
}
