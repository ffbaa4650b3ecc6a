import type { RequestId } from '../../../src/sdk.js';
import type { ScriptedInstance } from '../../endpoint/scripted-server.js';
import type { Chance } from '../../gateway/model/chance.js';
import { type Exchange, groupOf, nameOf, type Sent } from './clients.js';
import { nameOfInstance } from './judge.js';
import type { Held } from './played-servers.js';
import type { World } from './world.js';

const swellLength = 4 * 1024 * 1024;
const schema = { type: 'object', properties: {} };

/** What servers do. */
export class ServerSteps {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  answer(chance: Chance): void {
    const { held } = this.#world.servers;
    const one = chance.pick(held);
    if (one === undefined) {
      return;
    }
    held.splice(held.indexOf(one), 1);
    const { instance, request } = one;
    if (instance.closed) {
      return;
    }
    const isAgain = request.params?.inputResponses !== undefined;
    if (instance.context.server === 'new' && !isAgain && chance.oneIn(3)) {
      this.needInput(one);
      return;
    }
    const result = this.#world.complete(one, chance.oneIn(6) ? 300_000 : 0);
    if (chance.oneIn(6)) {
      instance.say({ id: request.id, error: { code: -32_050, message: 'no' } });
    } else {
      instance.answer(request, result);
    }
  }

  needInput({ instance, request }: Held): void {
    const q = Number((request.params?.arguments as { n?: number } | undefined)?.n);
    const sent = this.#world.judge.sent.get(q);
    if (sent !== undefined) {
      sent.isAnsweredByServer = true;
    }
    const params = { message: 'who?', requestedSchema: schema, _meta: { q } };
    instance.answer(request, {
      resultType: 'input_required',
      inputRequests: { who: { method: 'elicitation/create', params } },
      requestState: `state of ${q}`,
    });
  }

  progress(chance: Chance): void {
    const held = chance.pick(this.#world.servers.held);
    held && this.#say(held, chance.oneIn(4) ? 100_000 : 0);
  }

  /** Says how far it is with a call. */
  #say(held: Held, length: number): void {
    const progressToken = held.request.params?._meta?.progressToken;
    const sent = this.#sentOf(held);
    const { judge, turn } = this.#world;
    if (progressToken === undefined || sent === undefined || held.instance.closed) {
      return;
    }
    const progress = this.#world.number();
    const padding = 'x'.repeat(length);
    // Until the answer to a question has come to the gateway, nobody listens.
    if (sent.exchange?.end === undefined && !sent.isCancelled && !sent.isAgain) {
      sent.progress.push(progress);
    }
    judge.expected.progressed(sent, progress, turn);
    held.instance.notify('notifications/progress', { progressToken, progress, n: sent.number, padding });
  }

  #sentOf({ request }: Held): Sent | undefined {
    return this.#world.judge.sent.get(Number((request.params?.arguments as { n?: number } | undefined)?.n));
  }

  log(instance: ScriptedInstance, length = 0): void {
    const group = this.#world.judge.ownerOf(instance);
    if (group !== undefined) {
      const data = { group, number: this.#world.number(), padding: 'x'.repeat(length) };
      this.#world.judge.log(`${nameOfInstance(instance)} writes log ${data.number}`);
      this.#world.judge.expected.written(instance, data.number, this.#world.turn);
      instance.notify('notifications/message', { level: 'info', data });
    }
  }

  /** Says more than the clients read that do not read, and than waits for its turn behind another response. */
  async flood(instance: ScriptedInstance): Promise<void> {
    const { judge } = this.#world;
    if (judge.exchanges.some(({ line, end }) => line.isPaused && line.isOpen && end === undefined)) {
      judge.count('flood');
      judge.log('a flood');
      // All at once it would be more than any client can read in time.
      this.#world.servers.bytes.peers.get(instance)?.goOn();
      this.#overwhelm();
      for (let times = 0; times < 8; times += 1) {
        this.log(instance, 4 * 1024 * 1024);
        await this.#world.pause();
      }
    }
  }

  /** Who does not read, or reads another response before, may be given up. */
  #overwhelm(): void {
    const { judge } = this.#world;
    for (const exchange of judge.exchanges) {
      exchange.mayBeCut ||= exchange.line.isPaused || judge.before(exchange).length > 0;
    }
  }

  /** Says more than a connection holds to a client that does not read for a while, and less than it is given up for. */
  async swell(chance: Chance): Promise<void> {
    const { host, judge } = this.#world;
    const reading = judge.exchanges.filter(
      ({ end, status, isStream, line }) =>
        end === undefined && !line.isPaused && line.waiting === 1 && (!isStream || status === 200),
    );
    const [exchange, say] =
      chance.pick(reading.flatMap((each) => this.#wordsIn(each).map((say) => [each, say] as const))) ?? [];
    if (exchange === undefined || say === undefined) {
      return;
    }
    judge.log(`${nameOf(exchange.client)} does not read a swell`);
    this.goOn();
    this.#overwhelm();
    const { line } = exchange;
    line.pause();
    const whole = line.socket.bytesRead + 3 * swellLength;
    for (let times = 0; times < 3; times += 1) {
      say(swellLength);
      await this.#world.pause();
    }
    host.unreadBytes > 1024 * 1024 && judge.count('swell');
    line.resume();
    // Of so much some comes when all has seemed quiet.
    for (let turn = 0; turn < 10_000 && exchange.end === undefined && line.socket.bytesRead < whole; turn += 1) {
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    await this.#world.pause();
  }

  /** Says some of what comes in a response, and answers perhaps. */
  sayIn(exchange: Exchange, chance: Chance): void {
    this.goOn();
    for (const say of this.#wordsIn(exchange)) {
      for (let left = 1 + chance.below(3); left > 0; left -= 1) {
        say(0);
      }
    }
    chance.oneIn(2) && this.answer(chance);
  }

  /** What servers may say that comes in a response. */
  #wordsIn({ client, isStream, sent }: Exchange): ((length: number) => void)[] {
    const { judge, servers } = this.#world;
    const instances = servers.servers.own.live.filter((each) => isStream && judge.ownerOf(each) === groupOf(client));
    const held = servers.held.filter((each) => {
      const own = this.#sentOf(each);
      return own !== undefined && sent.includes(own) && !own.isCancelled && !own.isAgain;
    });
    return [
      ...instances.map((instance) => (length: number) => this.log(instance, length)),
      ...held
        .filter(({ request }) => request.params?._meta?.progressToken !== undefined)
        .map((each) => (length: number) => this.#say(each, length)),
    ];
  }

  question(instance: ScriptedInstance, chance: Chance): void {
    const { clock, judge, turn } = this.#world;
    const group = judge.ownerOf(instance);
    if (group === undefined) {
      return;
    }
    const number = this.#world.number();
    const id = chance.one<RequestId>([number, String(number), -number]);
    const question = { number, instance, id, group, isWithdrawn: false };
    judge.questions.set(number, question);
    judge.expected.asked(question, turn, clock.now());
    judge.log(`own asks ${group}: question ${number}`);
    instance.say({
      id,
      method: 'elicitation/create',
      params: { message: 'who?', requestedSchema: schema, _meta: { q: number } },
    });
  }

  withdraw(chance: Chance): void {
    const open = [...this.#world.judge.questions.values()].filter((each) => !each.isWithdrawn && !each.instance.closed);
    const question = chance.pick(open);
    if (question !== undefined) {
      question.isWithdrawn = true;
      question.instance.notify('notifications/cancelled', { requestId: question.id });
    }
  }

  /** A server over pipes stops to write, in the middle of a line, or to read. */
  hold(chance: Chance): void {
    const { judge, servers } = this.#world;
    const peer = chance.pick(servers.bytes.live);
    if (peer !== undefined) {
      const what = chance.one(['stalls', 'is deaf']);
      judge.count(what);
      judge.log(`a server ${what}`);
      what === 'stalls' ? peer.stall() : peer.turnDeaf();
    }
  }

  goOn(): void {
    this.#world.judge.log('servers over pipes go on');
    for (const peer of this.#world.servers.bytes.live) {
      peer.goOn();
    }
  }

  die(instance: ScriptedInstance): void {
    this.#world.judge.count('death');
    this.#world.judge.log(`${nameOfInstance(instance)} dies`);
    instance.die();
  }

  reload(): void {
    const { gateway, judge, servers } = this.#world;
    servers.generation += 1;
    judge.count('reload');
    judge.log(`reload to generation ${servers.generation}`);
    gateway.reload(servers.catalog as never).catch((error: unknown) => {
      judge.isClosing || judge.problem(`reload failed: ${String(error)}`);
    });
  }
}
