import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { Connections } from '../../transport/http/connections.js';
import type { Dial } from '../../transport/http/dial.js';
import { once } from '../../util/once.js';
import type { Endpoint } from './endpoints.js';

/** What is bound to a target, and wants to know when it goes. */
export interface Guest {
  /** The target takes no new sessions, and will be gone soon, or is. */
  leave(): void;
}

/** One place that serves the service, the connections to it, and the sessions that are there. */
export class Target {
  readonly #connections: Connections;
  readonly #guests = new Set<Guest>();
  #endpoint: Endpoint;
  #gone = false;

  /** @param toConnections - makes them from what dials this target */
  constructor(
    endpoint: Endpoint,
    dial: (endpoint: Endpoint, signal: AbortSignal) => Promise<Duplex>,
    toConnections: (dial: Dial) => Connections,
  ) {
    this.#endpoint = endpoint;
    this.#connections = toConnections((signal) => dial(this.#endpoint, signal));
  }

  /** For messages: `pod "x"`. */
  get name(): string {
    const { pod, address } = this.#endpoint;
    return pod === undefined ? `address ${address}` : `pod "${pod}"`;
  }

  get ready(): boolean {
    return this.#endpoint.ready && !this.#gone;
  }

  /** It is no longer part of the service: it was deleted, replaced, or is being shut down; or the port has another name now. */
  get gone(): boolean {
    return this.#gone;
  }

  /** How many sessions are here. */
  get guests(): number {
    return this.#guests.size;
  }

  get dispatcher(): Dispatcher {
    return this.#connections.dispatcher;
  }

  connectAhead(url: URL, signal: AbortSignal): Promise<void> {
    return this.#connections.connectAhead(url, signal);
  }

  update(endpoint: Endpoint): void {
    this.#endpoint = endpoint;
  }

  enter(guest: Guest): void {
    this.#guests.add(guest);
  }

  exit(guest: Guest): void {
    this.#guests.delete(guest);
    if (this.#gone && this.#guests.size === 0) void this.close();
  }

  /** Tells all who are here; the connections stay until the last one has left. */
  leave(): void {
    if (this.#gone) return;
    this.#gone = true;
    for (const guest of [...this.#guests]) guest.leave();
    if (this.#guests.size === 0) void this.close();
  }

  readonly close = once(() => this.#connections.close());
}

/** The target with the fewest sessions; among equals chance decides, so that many gateways do not all begin with one. */
export function leastUsed(targets: Iterable<Target>, random: () => number): Target | undefined {
  const ready = [...targets].filter(({ ready }) => ready);
  const fewest = Math.min(...ready.map(({ guests }) => guests));
  const best = ready.filter(({ guests }) => guests === fewest);
  return best[Math.floor(random() * best.length)];
}

/** When a silent connection is asked for a sign of life. */
const keepAliveMs = 15_000;

/** Connects to an address. */
export function dialAddress({ address, port }: Endpoint, signal: AbortSignal): Promise<Duplex> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: address,
      port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: keepAliveMs,
    });
    const abort = () => socket.destroy(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    socket.once('connect', () => {
      signal.removeEventListener('abort', abort);
      resolve(socket);
    });
    socket.on('error', (error) => {
      signal.removeEventListener('abort', abort);
      reject(error);
    });
  });
}
