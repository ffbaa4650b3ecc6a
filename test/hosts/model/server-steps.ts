import type { RequestId } from '../../../src/sdk.js';
import type { ScriptedInstance } from '../../endpoint/scripted-server.js';
import type { Chance } from '../../gateway/model/chance.js';
import { nameOfInstance } from './judge.js';
import type { Held } from './played-servers.js';
import type { World } from './world.js';

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
    const { judge, servers } = this.#world;
    const held = chance.pick(servers.held);
    const progressToken = held?.request.params?._meta?.progressToken;
    const sent = judge.sent.get(Number((held?.request.params?.arguments as { n?: number } | undefined)?.n));
    if (held === undefined || progressToken === undefined || sent === undefined || held.instance.closed) {
      return;
    }
    const progress = this.#world.number();
    const padding = 'x'.repeat(chance.oneIn(4) ? 100_000 : 0);
    // Until the answer to a question has come to the gateway, nobody listens.
    if (sent.exchange?.end === undefined && !sent.isCancelled && !sent.isAgain) {
      sent.progress.push(progress);
    }
    held.instance.notify('notifications/progress', { progressToken, progress, n: sent.number, padding });
  }

  log(instance: ScriptedInstance, length = 0): void {
    const group = this.#world.judge.ownerOf(instance);
    if (group !== undefined) {
      const data = { group, number: this.#world.number(), padding: 'x'.repeat(length) };
      this.#world.judge.log(`${nameOfInstance(instance)} writes log ${data.number}`);
      this.#world.judge.logs.written(instance, data.number, this.#world.turn);
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
      for (const exchange of judge.exchanges) {
        exchange.mayBeCut ||= exchange.line.isPaused || judge.before(exchange).length > 0;
      }
      for (let times = 0; times < 8; times += 1) {
        this.log(instance, 4 * 1024 * 1024);
        await this.#world.pause();
      }
    }
  }

  question(instance: ScriptedInstance, chance: Chance): void {
    const { judge } = this.#world;
    const group = judge.ownerOf(instance);
    if (group === undefined) {
      return;
    }
    const number = this.#world.number();
    const id = chance.one<RequestId>([number, String(number), -number]);
    judge.questions.set(number, { number, instance, id, group, isWithdrawn: false });
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
