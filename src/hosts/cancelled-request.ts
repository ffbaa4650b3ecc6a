import { isRequest, type JSONRPCMessage, type RequestId } from '../sdk.js';

/**
 * The request that a message of a body cancels, if any. One that comes behind it in the body had not been made then, and is
 * to be answered.
 */
export function cancelledBy(message: JSONRPCMessage, body: readonly JSONRPCMessage[]): RequestId | undefined {
  if (!('method' in message) || message.method !== 'notifications/cancelled') {
    return undefined;
  }
  const id = message.params?.requestId as RequestId;
  const isLater = body.slice(body.indexOf(message) + 1).some((later) => isRequest(later) && later.id === id);
  return isLater ? undefined : id;
}
