import { GatewayError } from '../../errors.js';
import { isResponse, type JSONRPCMessage, type JSONRPCRequest, type RequestId } from '../../sdk.js';
import { metaKeys, ownInfo } from '../modern.js';
import { Exchange } from './exchange.js';
import type { Wire, WireOptions } from './wire.js';

/** Whether a message asks for a sign of life. Those go out by themselves: nobody waits who could be asked for consent. */
export function asksForLife(message: JSONRPCMessage): boolean {
  return 'method' in message && (message.method === 'ping' || message.method === 'server/discover');
}

/** Asks a server over HTTP for signs of life. */
export class HttpHealth {
  readonly #options: WireOptions;
  /** What waits for the answers to requests of our own. */
  readonly #probes = new Map<RequestId, () => void>();
  // Numbers, as some servers read no others; they fit into 31 bits. Above all that a gateway asks otherwise, and of this
  // connection alone, most likely: what another gateway asks through it has an answer too.
  readonly #first = 2_100_000_000 + Math.floor(Math.random() * 40_000_000);
  #next = this.#first;

  constructor(options: WireOptions) {
    this.#options = options;
  }

  /** Takes the answer to a request of our own: it goes nowhere else, though nobody may wait for it any more. */
  take(message: JSONRPCMessage): boolean {
    if (!isResponse(message)) return false;
    const id = Number(message.id);
    if (!(id >= this.#first && id < this.#next)) return false;
    this.#probes.get(id)?.();
    return true;
  }

  /**
   * Asks as a client would: `ping`, or in the stateless era `server/discover`.
   *
   * @param modern - the stateless revision that is spoken
   */
  async probe(wire: Wire, modern: string | undefined, signal: AbortSignal): Promise<void> {
    const id = this.#next++;
    const request: JSONRPCRequest = {
      jsonrpc: '2.0',
      id,
      method: modern === undefined ? 'ping' : 'server/discover',
      ...(modern !== undefined && { params: { _meta: toMeta(modern) } }),
    };
    const answered = new Promise<void>((resolve) => {
      this.#probes.set(id, resolve);
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
    try {
      // Over HTTP+SSE the answer comes later than the end of send().
      await Promise.all([answered, wire.send(request, JSON.stringify(request), { requestSignal: signal })]);
    } finally {
      this.#probes.delete(id);
    }
  }

  /** Asks for any answer to an HTTP request that is no failure of the server: before initialize there is nothing else. */
  async reach(signal: AbortSignal): Promise<void> {
    const { url, headersTimeoutMs, server, leftovers } = this.#options;
    const step = 'OPTIONS (health)';
    const exchange = new Exchange(
      { ...this.#options, authorizer: undefined },
      { url, method: 'OPTIONS', step, headers: {}, headersTimeoutMs },
    );
    signal.addEventListener('abort', () => exchange.abort(), { once: true });
    const answer = await exchange.answer;
    leftovers.discard(answer);
    if (answer.status >= 500) {
      const { status } = answer;
      const message = `${step} was answered with HTTP ${status}`;
      throw new GatewayError('HTTP_STATUS', message, { server, status, delivered: false });
    }
  }

  /** Lets go what waits. */
  end(): void {
    for (const probe of this.#probes.values()) probe();
  }
}

function toMeta(version: string): Record<string, unknown> {
  return {
    [metaKeys.protocolVersion]: version,
    [metaKeys.clientCapabilities]: {},
    [metaKeys.clientInfo]: ownInfo,
  };
}
