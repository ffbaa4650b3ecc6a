import type { JSONRPCMessage } from '../sdk.js';
import { type Fields, isFields } from '../util/fields.js';
import { textOf } from '../util/text-of.js';
import type { RpcError } from './exchanges.js';

/** An answer whose error clients can read, whatever its server gave as one: to look at a part of that may throw. */
export function withReadableError(message: JSONRPCMessage): JSONRPCMessage {
  const given: unknown = 'error' in message ? message.error : undefined;
  if (typeof given !== 'object' || given === null) {
    return message;
  }
  const error = readableError(isFields(given) ? given : {});
  return error === given ? message : ({ ...message, error } as JSONRPCMessage);
}

/** An error with a code and a message, as JSON-RPC has it: clients of the SDK take an answer with any other for none at all. */
export function readableError(given: Fields): RpcError {
  // Nor do they take a number for a whole one that a double cannot count to.
  const hasCode = Number.isSafeInteger(given.code);
  if (hasCode && typeof given.message === 'string') {
    return given as unknown as RpcError;
  }
  const code = hasCode ? (given.code as number) : -32603;
  return { ...given, code, message: textOf(given.message ?? 'no reason given') };
}
