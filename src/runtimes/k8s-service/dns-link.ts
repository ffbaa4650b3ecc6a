import { lookup } from 'node:dns/promises';
import type { Duplex } from 'node:stream';
import { GatewayError } from '../../errors.js';
import { abortable } from '../../util/abort.js';
import type { Endpoint } from './endpoints.js';
import type { Link, LinkOptions } from './link.js';
import { dialAddress, type Guest, leastUsed, Target } from './target.js';

/**
 * The way to a service by its name, for those who may not ask the API server.
 *
 * A headless service has an address for each pod, and each session stays at one of them. Any other has one for all its
 * pods: there the cluster decides for each connection which pod it goes to.
 */
export class DnsLink implements Link {
  readonly port: number;
  readonly #host: string;
  readonly #options: LinkOptions;
  readonly #targets = new Map<string, Target>();

  constructor(host: string, port: number, options: LinkOptions) {
    this.#host = host;
    this.port = port;
    this.#options = options;
  }

  async take(tried: ReadonlySet<Target>, place: Guest, signal: AbortSignal): Promise<Target | undefined> {
    if (tried.size === 0) await abortable(this.#look(), signal);
    const left = [...this.#targets.values()].filter((target) => !tried.has(target));
    const found = leastUsed(left, this.#options.random);
    found?.enter(place);
    return found;
  }

  choose(): Target | undefined {
    return leastUsed(this.#targets.values(), this.#options.random);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#targets.values()].map((target) => target.close()));
    this.#targets.clear();
  }

  async #look(): Promise<void> {
    let found: readonly { readonly address: string }[];
    try {
      found = await lookup(this.#host, { all: true });
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      const remedy = 'does the service exist, and does this process run in the cluster? Else set reach: port-forward';
      throw new GatewayError('START_FAILED', `DNS does not know ${this.#host} (${code}); ${remedy}`, {
        server: this.#options.server,
        cause,
        delivered: false,
      });
    }
    const addresses = new Set(found.map(({ address }) => address));
    for (const [address, target] of this.#targets) {
      if (addresses.has(address)) continue;
      this.#targets.delete(address);
      target.leave();
    }
    for (const address of addresses) {
      if (this.#targets.has(address)) continue;
      const endpoint = { key: address, pod: undefined, address, port: this.port, ready: true, leaving: false };
      const dial = (to: Endpoint, signal: AbortSignal) => this.#dial(to, signal);
      this.#targets.set(address, new Target(endpoint, dial, this.#options.toConnections));
    }
  }

  async #dial(endpoint: Endpoint, signal: AbortSignal): Promise<Duplex> {
    try {
      return await dialAddress(endpoint, signal);
    } catch (error) {
      // Its pod may be gone; sessions that were there should get to know.
      if (!signal.aborted) void this.#look().catch(() => {});
      throw error;
    }
  }
}
