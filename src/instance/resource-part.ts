import type { JSONRPCNotification } from '../sdk.js';

/** Whether a URI is the one that somebody is subscribed to, or of a resource within that. */
export function isPartOf(uri: string, subscribed: string): boolean {
  return (
    uri === subscribed ||
    (uri.startsWith(subscribed) && (subscribed.endsWith('/') || /[/?#]/.test(uri.charAt(subscribed.length))))
  );
}

/** Says that a resource has changed, or may have. */
export function toUpdate(uri: string): JSONRPCNotification {
  return { jsonrpc: '2.0', method: 'notifications/resources/updated', params: { uri } };
}
