import type { JSONRPCMessage, MessageExtraInfo, Transport } from '../sdk.js';
import { isError } from '../util/is-error.js';
import { textOf } from '../util/text-of.js';
import { infoFor } from './json-part.js';

/**
 * Runs a callback of whoever uses `transport`. What it throws goes to `onerror`: it is nobody else's fault, so it must
 * neither reach the peer nor end the process.
 */
export function runCallback(transport: Pick<Transport, 'onerror'>, run: () => void): void {
  try {
    run();
  } catch (error) {
    report(transport, error);
  }
}

/** Hands a message to whoever uses `transport`, under the same terms; without a closure for each message. */
export function deliver(
  transport: Pick<Transport, 'onerror' | 'onmessage'>,
  message: JSONRPCMessage,
  extra?: MessageExtraInfo,
): void {
  try {
    transport.onmessage?.(message, infoFor(extra, transport.onmessage));
  } catch (error) {
    report(transport, error);
  }
}

/** Tells whoever uses `transport` of something that ended nothing. */
export function report(transport: Pick<Transport, 'onerror'>, error: unknown): void {
  try {
    transport.onerror?.(isError(error) ? error : new Error(textOf(error)));
  } catch {
    // There is nobody left to tell.
  }
}
