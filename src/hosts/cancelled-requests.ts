import { isRequest, type JSONRPCMessage, type RequestId } from '../sdk.js';

/**
 * The requests that the messages of a body cancel. One that comes behind its cancellation had not been made then, and is to be
 * answered.
 */
export function cancelledIn(body: readonly JSONRPCMessage[]): RequestId[] {
  const later = new Set<RequestId>();
  const cancelled = new Set<RequestId>();
  // In one pass: a body may hold very many.
  for (const message of body.toReversed()) {
    if (isRequest(message)) {
      later.add(message.id);
    } else if ('method' in message && message.method === 'notifications/cancelled') {
      const id = message.params?.requestId as RequestId;
      later.has(id) || cancelled.add(id);
    }
  }
  return [...cancelled];
}
