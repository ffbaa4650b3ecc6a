import type { JSONRPCMessage } from '../sdk.js';
import { isFields } from '../util/fields.js';
import { textOf } from '../util/text-of.js';

/**
 * An answer whose error has a code and a message, as JSON-RPC has it, whatever its server gave in place of them: clients of the
 * SDK take any other for no answer at all, and to look at a part of it may throw.
 */
export function withReadableError(message: JSONRPCMessage): JSONRPCMessage {
  const given: unknown = 'error' in message ? message.error : undefined;
  if (typeof given !== 'object' || given === null) {
    return message;
  }
  const error = isFields(given) ? given : {};
  // Clients take no number for a whole one that a double cannot count to.
  const hasCode = Number.isSafeInteger(error.code);
  if (hasCode && typeof error.message === 'string') {
    return message;
  }
  const code = hasCode ? error.code : -32603;
  return {
    ...message,
    error: { ...error, code, message: textOf(error.message ?? 'no reason given') },
  } as JSONRPCMessage;
}
