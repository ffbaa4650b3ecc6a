import { errorNumbers } from '../../errors.js';
import { isResponse, type JSONRPCMessage } from '../../sdk.js';

/**
 * What a client gets in place of an answer that cannot be written as JSON; undefined for what is no answer. Servers of the
 * SDK tell nobody that they could not send one: who asked would wait until its time is up.
 *
 * @param cause - why it cannot be written
 */
export function inPlaceOf(message: JSONRPCMessage, server: string, cause: unknown): JSONRPCMessage | undefined {
  if (!isResponse(message) || message.id === undefined) {
    return undefined;
  }
  // Of what holds itself, JavaScript says no more than that the stack has overflowed.
  const isEndless = cause instanceof RangeError || !(cause instanceof Error);
  const why = isEndless ? 'it holds itself, or is nested too deeply' : cause.message;
  const text = `"${server}": the answer of the server cannot be written as JSON: ${why}`;
  const data = { code: 'MESSAGE_INVALID', server, delivered: true };
  return { jsonrpc: '2.0', id: message.id, error: { code: errorNumbers.MESSAGE_INVALID, message: text, data } };
}
