import type { RequestId } from '../../../src/sdk.js';
import type { Json } from '../../endpoint/scripted-server.js';
import type { Chance } from '../../gateway/model/chance.js';
import { type Client, type Exchange, groupOf, nameOf, type Sent, type User, users } from './clients.js';
import { serverIds } from './played-servers.js';
import type { World } from './world.js';

const versions = ['2025-11-25', '2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05', '1999-01-01'] as const;
const slowStatuses = [200, 400, 404, 408, 503];
const ids: readonly RequestId[] = [0, 1, 2, '1', 'x'];

/** What clients do that is as it should be, or what may befall it. */
export class ClientSteps {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  async join(chance: Chance): Promise<void> {
    const world = this.#world;
    const client: Client = {
      index: world.clients.length,
      user: chance.pick(Object.keys(users)) as User,
      era: world.host.isDual && chance.oneIn(2) ? 'modern' : 'legacy',
      capabilities: chance.oneIn(4) ? {} : { elicitation: {} },
      session: undefined,
      version: '',
      lines: [],
      exchanges: [],
      asked: [],
      eventIds: new Set(),
      seen: new Set(),
      hasEnded: false,
      isGone: false,
      quietAt: 0,
      quietMs: 300_000,
    };
    world.clients.push(client);
    if (client.era === 'modern') {
      return;
    }
    const clientInfo = { name: `client ${client.index}`, version: '1' };
    const params = { protocolVersion: chance.one(versions), capabilities: client.capabilities, clientInfo };
    // Some take their time, in which others may come.
    const other = chance.oneIn(4) ? { upTo: (1 + chance.below(99)) / 100, statuses: slowStatuses } : {};
    world.send(client, 'initialize', [world.request(client, 'initialize', params, 'initialize')], other);
    await this.#begin(client, chance);
  }

  async #begin(client: Client, chance: Chance): Promise<void> {
    await this.#world.pause();
    if (client.session !== undefined) {
      this.#world.send(client, 'initialized', [{ method: 'notifications/initialized' }]);
      chance.oneIn(3) || this.listen(client, chance);
    }
  }

  call(client: Client, chance: Chance): void {
    const server = chance.one(serverIds);
    const call = this.#world.call(client, server, chance.one(['go', 'go', 'now']), this.#freeId(client, chance));
    const line = this.#world.line(client, chance.oneIn(3));
    this.#world.send(client, 'call', [call], { line });
  }

  /** Some messages in one body, one of which may cancel another. */
  batch(client: Client, chance: Chance): void {
    if (client.era === 'modern') {
      return;
    }
    const world = this.#world;
    const messages: (Sent | Json)[] = [];
    const calls: Sent[] = [];
    for (let left = 2 + chance.below(3); left > 0; left -= 1) {
      const call = world.call(client, chance.one(serverIds), chance.one(['go', 'now']), `b${world.number()}`);
      calls.push(call);
      messages.push(call);
    }
    const cancelled = chance.pick(calls) as Sent;
    switch (chance.below(4)) {
      case 0:
        cancelled.isCancelled = true;
        messages.push(cancellationOf(cancelled));
        break;
      case 1:
        // What comes before what it cancels is in vain.
        messages.unshift(cancellationOf(cancelled));
        break;
      default:
    }
    chance.oneIn(3) && messages.push({ id: 4_711, result: {} });
    world.judge.count('batch');
    world.send(client, 'batch', messages);
  }

  ask(client: Client, chance: Chance): void {
    const method = chance.one(['tools/list', 'tools/list', 'ping', 'no/such']);
    const isUnknown = client.era === 'modern' && method !== 'tools/list';
    const sent = this.#world.request(client, method, {}, this.#freeId(client, chance));
    this.#world.send(client, method, [sent], isUnknown ? { statuses: [200, 404] } : {});
  }

  cancel(client: Client, chance: Chance): void {
    const open = client.exchanges
      .filter(({ end }) => end === undefined || (end === 'left' && client.era === 'legacy'))
      .flatMap(({ sent }) => sent);
    const sent = chance.pick(open.filter(({ answers, isCancelled, server }) => !answers && !isCancelled && server));
    if (sent?.exchange === undefined) {
      return;
    }
    this.#world.judge.count('cancel');
    if (client.era === 'modern') {
      this.#world.cut(sent.exchange.line, chance.oneIn(2));
      return;
    }
    sent.isCancelled = true;
    sent.isToldOff = sent.at !== undefined && !sent.isAnsweredByServer;
    this.#world.send(client, `cancel ${sent.number}`, [cancellationOf(sent)]);
  }

  /** @param miss - makes it miss something */
  async hangUp(client: Client, chance: Chance, miss: (exchange: Exchange) => void): Promise<void> {
    const line = chance.pick(client.lines.filter((each) => each.isOpen && each.waiting > 0));
    if (line !== undefined) {
      this.#world.judge.count('hang up');
      const cut = client.exchanges.filter((each) => each.line === line && each.end === undefined);
      this.#world.cut(line, chance.oneIn(2));
      if (chance.oneIn(2)) {
        await this.#world.pause();
        cut.forEach(miss);
      }
    }
  }

  listen(client: Client, chance: Chance): void {
    const world = this.#world;
    if (client.era === 'modern') {
      const params = { notifications: { toolsListChanged: true } };
      const sent = world.request(client, 'subscriptions/listen', params, this.#freeId(client, chance));
      world.send(client, 'listen', [sent]);
      return;
    }
    const streams = client.exchanges.filter(({ isStream, status }) => isStream && (status ?? 200) === 200);
    const isOpen = streams.some(({ end }) => end === undefined);
    // Of two on their way by connections of their own, either may come first.
    const onTheirWay = streams.filter(({ end, sentAt }) => end === undefined && sentAt === world.turn);
    for (const exchange of onTheirWay) {
      exchange.statuses = [...exchange.statuses, 409];
    }
    // The host may not have heard of its end yet, or has ended it without that the client has read so.
    const isUnsure =
      onTheirWay.length > 0 ||
      streams.some(({ end, leftAt, line, what }) =>
        end === 'left' ? leftAt === world.turn : line.isPaused || what === 'resume',
      );
    world.send(client, 'listen', [], { method: 'GET', statuses: isUnsure ? [200, 409] : isOpen ? [409] : [200] });
  }

  /**
   * Comes back for what it has missed on a stream that it has broken off, or somebody else has.
   *
   * @param miss - makes it miss something
   */
  async resume(client: Client, chance: Chance, miss: (exchange: Exchange) => void): Promise<void> {
    const world = this.#world;
    if (!world.host.isResumable) {
      return;
    }
    const known = client.exchanges.filter(({ end, eventId }) => end !== 'clean' && eventId !== undefined);
    const exchange = chance.pick(known);
    if (exchange !== undefined && exchange.end === undefined) {
      world.cut(exchange.line, chance.oneIn(2));
      await world.pause();
      chance.oneIn(2) && miss(exchange);
    }
    await world.pause();
    const foreign = chance.pick(world.clients.filter((each) => each !== client).flatMap((each) => [...each.eventIds]));
    const isTheft = foreign !== undefined && chance.oneIn(3);
    if (exchange === undefined && !isTheft) {
      return;
    }
    const id = isTheft ? foreign : exchange?.eventId;
    world.judge.count(isTheft ? 'theft of events' : 'resumed');
    world.send(client, 'resume', [], {
      method: 'GET',
      headers: { 'last-event-id': id },
      lastEventId: isTheft ? undefined : id,
      statuses: isTheft ? [400] : [200, 409],
      sent: exchange?.sent ?? [],
    });
    if (exchange !== undefined && !isTheft) {
      // From here on it goes on in the other one.
      exchange.eventId = undefined;
    }
    await world.pause();
  }

  end(client: Client): void {
    if (client.era === 'legacy') {
      const onTheirWay = client.exchanges.filter(({ end, status }) => end === undefined && status === undefined);
      for (const exchange of onTheirWay) {
        exchange.statuses = [...exchange.statuses, 404];
      }
      this.#world.send(client, 'end', [], { method: 'DELETE' });
      client.hasEnded = true;
    }
  }

  /** Begins to send a call, and leaves it at that for now. */
  upload(client: Client, chance: Chance): void {
    const call = this.#world.call(client, chance.one(serverIds), 'now', `u${this.#world.number()}`);
    this.#world.send(client, 'upload', [call], {
      upTo: (1 + chance.below(99)) / 100,
      line: this.#world.line(client),
      statuses: slowStatuses,
    });
  }

  async goOn(chance: Chance): Promise<void> {
    const { uploads } = this.#world;
    const upload = chance.pick(uploads);
    if (upload === undefined) {
      return;
    }
    uploads.splice(uploads.indexOf(upload), 1);
    if (chance.oneIn(2)) {
      this.#world.judge.count('upload');
      upload.exchange.line.write(upload.rest);
      upload.exchange.what === 'initialize' && (await this.#begin(upload.exchange.client, chance));
    } else {
      this.#world.judge.count('cut upload');
      this.#world.cut(upload.exchange.line, chance.oneIn(2));
    }
  }

  /** Stops to read, or goes on. */
  read(client: Client, chance: Chance): void {
    const line = chance.pick(client.lines.filter(({ isOpen }) => isOpen));
    if (line === undefined) {
      return;
    }
    this.#world.judge.log(`${nameOf(client)} ${line.isPaused ? 'reads again' : 'stops to read'}`);
    if (line.isPaused) {
      line.resume();
    } else {
      line.pause();
      // What the host has ended it does not know.
      client.quietMs = 0;
      client.quietAt = 0;
    }
  }

  respond(client: Client, chance: Chance): void {
    const world = this.#world;
    const asked = chance.pick(client.asked);
    if (asked === undefined) {
      return;
    }
    const isOnce = asked.of !== undefined || !chance.oneIn(4);
    isOnce && client.asked.splice(client.asked.indexOf(asked), 1);
    const thief = chance.pick(world.clients.filter((each) => groupOf(each) !== groupOf(client) && isReady(each)));
    if (thief !== undefined && thief.era === client.era && chance.oneIn(3)) {
      world.judge.count('theft of a question');
      this.answer(thief, asked, true);
      isOnce && client.asked.push(asked);
      return;
    }
    this.answer(client, asked);
  }

  answer(client: Client, { id, number, of }: Client['asked'][0], isTheft = false): void {
    const world = this.#world;
    const result = { action: 'accept', content: { q: number, by: client.index, ...(isTheft && { isTheft }) } };
    if (of === undefined) {
      world.send(client, `answer to ${number}`, [{ id, result }]);
      return;
    }
    const { sent, state, key } = of;
    const { requestState: _, inputResponses: __, ...params } = sent.params;
    const more = { ...params, requestState: state, inputResponses: { [key]: result } };
    const again: Sent = {
      ...sent,
      client,
      params: more,
      answers: 0,
      progress: [],
      exchange: undefined,
      // A stateless server gets it anew.
      at: sent.server === 'new' ? undefined : sent.at,
      isTheft,
      isAgain: true,
    };
    // The call that it is goes on in it.
    isTheft || world.judge.sent.set(sent.number, again);
    world.send(client, `answer to ${number}`, [again]);
  }

  /** One that no open request has: what was cancelled is free again. */
  #freeId(client: Client, chance: Chance): RequestId {
    const id = chance.pick(ids) as RequestId;
    const isUsed = client.exchanges.some(({ sent, end }) =>
      sent.some((each) => each.id === id && each.answers === 0 && !(each.isCancelled && end === 'clean')),
    );
    return isUsed && client.era === 'legacy' ? `r${this.#world.number()}` : id;
  }
}

/** Whether it can send anything. */
export function isReady(client: Client): boolean {
  return hasBegun(client) && !client.hasEnded;
}

export function hasBegun({ era, session }: Client): boolean {
  return era === 'modern' || session !== undefined;
}

function cancellationOf({ id }: Sent): Json {
  return { method: 'notifications/cancelled', params: { requestId: id, reason: 'enough' } };
}
