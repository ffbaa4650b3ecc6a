import type { JSONRPCErrorResponse } from '../sdk.js';
import { textOf } from '../util/text-of.js';
import { toGatewayError } from './handshake.js';

/** An error that a server answered, or this library in its place, kept as it came. */
export class ServerError extends Error {
  /** Id of the catalog entry. */
  readonly server: string;
  /** As it was answered: `code`, `message`, `data`. */
  readonly error: JSONRPCErrorResponse['error'];

  constructor(server: string, method: string, error: JSONRPCErrorResponse['error']) {
    const isOurs = toGatewayError(server, error) !== undefined;
    // On a raw connection it passes as it came, and may be anything.
    const text = textOf(error.message);
    super(isOurs ? text : `"${server}": ${method} was answered with error ${textOf(error.code)}: ${text}`);
    this.name = 'ServerError';
    this.server = server;
    this.error = error;
  }
}
