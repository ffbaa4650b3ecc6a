import type { Json } from '../../endpoint/scripted-server.js';
import type { Chance } from '../../gateway/model/chance.js';
import { type ClientSteps, isReady } from './client-steps.js';
import { nameOf } from './clients.js';
import { type Held, serverIds } from './played-servers.js';
import type { World } from './world.js';

/** Lets everything come to its end, looks whether it is as it should be, and closes. */
export class Ending {
  readonly #world: World;
  readonly #clients: ClientSteps;
  readonly #chance: Chance;

  constructor(world: World, clients: ClientSteps, chance: Chance) {
    this.#world = world;
    this.#clients = clients;
    this.#chance = chance;
  }

  async finish(): Promise<void> {
    const { judge, clients } = this.#world;
    try {
      if (this.#chance.oneIn(2)) {
        await this.#settle();
        await this.#useEverything();
        this.#chance.oneIn(2) && (await this.#everybodyLeaves());
      }
      await this.#close();
      judge.checkCancellations();
      judge.checkQuestions(false);
    } finally {
      for (const line of clients.flatMap(({ lines }) => lines)) {
        line.cut(false);
      }
    }
  }

  /** Everybody reads, answers and sends to the end. */
  async #settle(): Promise<void> {
    const { clients, judge, servers, uploads } = this.#world;
    for (const client of clients) {
      for (const line of client.lines) {
        line.isPaused && line.resume();
      }
    }
    for (const { exchange, rest } of uploads.splice(0)) {
      exchange.line.isOpen && exchange.line.write(rest);
    }
    for (let round = 0; round < 4; round += 1) {
      for (const peer of servers.bytes.live) {
        peer.goOn();
      }
      await this.#world.pause();
      for (const client of clients.filter(isReady)) {
        for (const asked of client.asked.splice(0)) {
          this.#clients.answer(client, asked);
        }
      }
      await this.#world.pause();
      for (const held of servers.held.splice(0)) {
        held.instance.closed || held.instance.answer(held.request, this.#world.complete(held));
      }
      await this.#world.passTime(6_000);
    }
    for (const { unwritten } of servers.bytes.live) {
      unwritten > 0 && judge.problem(`${unwritten} bytes of a server are not read`);
    }
    for (const { client, line, end, sent, number, what, isStream } of judge.exchanges) {
      const isLong = isStream || what === 'listen' || line.waiting > 1 || sent.some(({ isCancelled }) => isCancelled);
      if (end === undefined && !isLong) {
        judge.problem(`${nameOf(client)} waits for ever for ${number} (${what})`);
      }
    }
  }

  async #useEverything(): Promise<void> {
    for (const client of this.#world.clients.filter((each) => isReady(each))) {
      for (const server of serverIds) {
        const id = `last ${server}`;
        this.#world.send(client, 'last', [this.#world.call(client, server, 'now', id)], {
          line: this.#world.newLine(client),
        });
      }
    }
    await this.#world.passTime(10);
  }

  async #everybodyLeaves(): Promise<void> {
    const { clients, clock, host, judge, servers } = this.#world;
    for (const client of clients) {
      this.#chance.oneIn(3) && isReady(client) && this.#clients.end(client);
    }
    await this.#world.pause();
    for (const line of new Set(judge.exchanges.map((exchange) => exchange.line))) {
      line.isOpen && this.#world.cut(line, this.#chance.oneIn(2));
    }
    await this.#world.pause();
    // Longer than sessions stay, and callers are remembered, and their servers idle.
    for (let round = 0; round < 6; round += 1) {
      await this.#world.passTime(130_000);
    }
    judge.checkQuestions(true);
    const left = {
      sessions: host.sessionCount,
      sockets: host.sockets.size,
      requests: host.openRequests,
      timers: clock.waiting,
      instances: servers.live.length,
    };
    if (Object.values(left).some((count) => count > 0)) {
      judge.problem(`everybody has left, but there are ${JSON.stringify(left)}`);
    }
  }

  /** What is open when the host begins to close may come to its end. */
  #openCalls(): readonly Held[] {
    const { servers, judge } = this.#world;
    for (const peer of servers.bytes.live) {
      peer.goOn();
    }
    const open = servers.held.splice(0).filter(({ instance }) => !instance.closed);
    for (const { request } of open) {
      const sent = judge.sent.get(Number((request.params?.arguments as Json | undefined)?.n));
      if (sent !== undefined && sent.exchange?.end === undefined && !sent.client.hasEnded) {
        judge.count('grace');
        sent.isInTime = true;
      }
    }
    return open;
  }

  #answer(calls: readonly Held[]): void {
    for (const held of calls.filter(({ instance }) => !instance.closed)) {
      held.instance.answer(held.request, this.#world.complete(held));
    }
  }

  async #close(): Promise<void> {
    const { clients, clock, gateway, host, judge, servers, uploads } = this.#world;
    judge.log('the host closes');
    judge.isClosing = true;
    for (const exchange of judge.exchanges.filter(({ end }) => end === undefined)) {
      exchange.statuses = [...exchange.statuses, 400, 404, 503];
    }
    const graceMs = this.#chance.one([0, 5_000]);
    const gatewayFirst = this.#chance.oneIn(3);
    const inTime = graceMs > 0 ? this.#openCalls() : [];
    const closing = (async () => {
      await (gatewayFirst ? gateway.close({ graceMs }) : host.closeSessions(graceMs));
      await (gatewayFirst ? host.closeSessions(graceMs) : gateway.close({ graceMs }));
    })();
    let isDone = false;
    closing.then(
      () => {
        isDone = true;
      },
      (error: unknown) => judge.problem(`close failed: ${String(error)}`),
    );
    await this.#world.pause();
    this.#answer(inTime);
    for (let round = 0; round < 10 && !isDone; round += 1) {
      const client = this.#chance.pick(clients.filter(isReady));
      client && this.#clients.call(client, this.#chance);
      await this.#world.passTime(3_000);
    }
    if (!isDone) {
      judge.problem('close does not end');
    }
    await this.#world.pause();
    for (const { client, line, end, number, what } of judge.exchanges) {
      const isHalf = uploads.some(({ exchange }) => exchange.line === line);
      if (end === undefined && !line.isPaused && !isHalf) {
        judge.problem(`${nameOf(client)} still waits for ${number} (${what}) when all is closed`);
      }
    }
    judge.isCutting = true;
    await host.closeServer();
    await this.#world.pause();
    const left = {
      sessions: host.sessionCount,
      sockets: host.sockets.size,
      requests: host.openRequests,
      timers: clock.waiting,
      instances: servers.live.length,
      inFlight: gateway.status().reduce((sum, { inFlight }) => sum + inFlight, 0),
    };
    if (Object.values(left).some((count) => count > 0)) {
      judge.problem(`all is closed, but there are ${JSON.stringify(left)}`);
    }
  }
}
