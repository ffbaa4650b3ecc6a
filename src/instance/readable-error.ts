import type { JSONRPCMessage } from '../sdk.js';
import { isFields } from '../util/fields.js';
import { textOf } from '../util/text-of.js';

/**
 * An answer whose error has a code and a message, as JSON-RPC has it, whatever its server gave in place of them: clients of the
 * SDK take any other for no answer at all, and to look at a part of it may throw.
 */
export function withReadableError(message: JSONRPCMessage): JSONRPCMessage {
  const error: unknown = 'error' in message ? message.error : undefined;
  if (!isFields(error) || (Number.isInteger(error.code) && typeof error.message === 'string')) {
    return message;
  }
  const code = Number.isInteger(error.code) ? error.code : -32603;
  return {
    ...message,
    error: { ...error, code, message: textOf(error.message ?? 'no reason given') },
  } as JSONRPCMessage;
}
