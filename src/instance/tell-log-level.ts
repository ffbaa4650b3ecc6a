import type { JSONRPCRequest } from '../sdk.js';
import type { Link } from './link.js';

/** From the least important to the most. */
export const logLevels: readonly unknown[] = [
  ...['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'],
];

/** Tells a server that has just opened what its caller has asked another one before, if it has. */
export function tellLogLevel(link: Link, params: JSONRPCRequest['params']): void {
  if (params !== undefined && link.handshake?.capabilities.logging !== undefined) {
    link.ask('logging/setLevel', params).catch(() => {});
  }
}
