import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../../options.js';
import type { JSONRPCRequest } from '../../sdk.js';
import { writeCanonical } from '../../util/canonical.js';

/** What a `requestState` of ours stands for. */
export type StateMeaning =
  /** A server's own state, which it gets back. */
  | { readonly kind: 'passed'; readonly server: string; readonly state: string }
  /** A call that goes on here, in the round that was asked. */
  | { readonly kind: 'held'; readonly call: string; readonly round: number }
  /** Nothing: the request is simply sent again. */
  | { readonly kind: 'again' };

interface Payload {
  readonly meaning: StateMeaning;
  /** Whose it is, and for which request. */
  readonly binding: string;
  readonly expiresAt: number;
}

/** How long a state is good, in milliseconds. */
export const stateLifetimeMs = 10 * 60_000;

/**
 * Writes and reads `requestState`. What it gives out is signed, and good for one caller, one request and a while: what was
 * changed, made up, or comes from somebody else or with another request is nothing.
 */
export class RequestStates {
  // States die with the gateway that gave them out.
  readonly #key = randomBytes(32);
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  seal(caller: string, request: JSONRPCRequest, meaning: StateMeaning): string {
    const payload: Payload = {
      meaning,
      binding: bindingOf(caller, request),
      expiresAt: this.#clock.now() + stateLifetimeMs,
    };
    const text = Buffer.from(JSON.stringify(payload)).toString('base64url');
    return `${text}.${this.#sign(text).toString('base64url')}`;
  }

  /** Undefined for what is not good. */
  open(caller: string, request: JSONRPCRequest, state: unknown): StateMeaning | undefined {
    const [text, signature, ...more] = typeof state === 'string' ? state.split('.') : [];
    if (text === undefined || signature === undefined || more.length > 0) {
      return undefined;
    }
    const given = Buffer.from(signature, 'base64url');
    const expected = this.#sign(text);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
      return undefined;
    }
    const { meaning, binding, expiresAt } = JSON.parse(Buffer.from(text, 'base64url').toString()) as Payload;
    return expiresAt > this.#clock.now() && binding === bindingOf(caller, request) ? meaning : undefined;
  }

  #sign(text: string): Buffer {
    return createHmac('sha256', this.#key).update(text).digest();
  }
}

/** The request with the server's own state, or without ours. */
export function withState(request: JSONRPCRequest, meaning: StateMeaning): JSONRPCRequest {
  const { requestState: _, ...params } = request.params as Record<string, unknown>;
  if (meaning.kind === 'passed') {
    return { ...request, params: { ...params, requestState: meaning.state } };
  }
  const { inputResponses: __, ...rest } = params;
  return { ...request, params: rest };
}

/** The same for the same request, whatever the order of its members, its answers and its `_meta`. */
function bindingOf(caller: string, { method, params = {} }: JSONRPCRequest): string {
  const { _meta: _, inputResponses: __, requestState: ___, ...rest } = params as Record<string, unknown>;
  const hash = createHash('sha256');
  writeCanonical([caller, method, rest], (text) => hash.update(text));
  return hash.digest('base64url');
}
