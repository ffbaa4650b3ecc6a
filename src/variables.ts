import type { Environment } from './catalog/catalog.js';
import { GatewayError } from './errors.js';
import type { GatewayOptions } from './gateway-api.js';
import { abortable } from './util/abort.js';

/** Asks the host's function for the variables when servers start. Starts at the same time share one call. */
export class Variables {
  readonly #ask: Extract<GatewayOptions['env'], (...args: never) => unknown>;
  #asking: Promise<Environment> | undefined;

  constructor(ask: Extract<GatewayOptions['env'], (...args: never) => unknown>) {
    this.#ask = ask;
  }

  /** @throws `GatewayError` `START_FAILED`; `signal.reason` once aborted */
  async get(server: string, signal: AbortSignal): Promise<Environment> {
    if (this.#asking === undefined) {
      const asking = this.#call().finally(() => this.#forget(asking));
      this.#asking = asking;
    }
    const asking = this.#asking;
    try {
      return await abortable(asking, signal);
    } catch (error) {
      // One that never answers must not hold up every later start.
      this.#forget(asking);
      signal.throwIfAborted();
      throw error instanceof NoVariables
        ? new GatewayError('START_FAILED', error.message, { server, delivered: false })
        : error;
    }
  }

  async #call(): Promise<Environment> {
    let given: unknown;
    try {
      given = await this.#ask();
      if (typeof given === 'object' && given !== null) {
        return { ...given };
      }
    } catch {
      // What it throws may hold anything, also secrets that nobody knows yet.
      throw new NoVariables('the env function of the host failed; its error is not shown, as it may hold secrets');
    }
    throw new NoVariables('the env function of the host returned no object');
  }

  #forget(asking: Promise<Environment>): void {
    if (this.#asking === asking) {
      this.#asking = undefined;
    }
  }
}

class NoVariables extends Error {}
