import type { JSONRPCErrorResponse } from '../sdk.js';
import { toGatewayError } from './handshake.js';

/** An error that a server answered, or this library in its place, kept as it came. */
export class ServerError extends Error {
  /** Id of the catalog entry. */
  readonly server: string;
  /** As it was answered: `code`, `message`, `data`. */
  readonly error: JSONRPCErrorResponse['error'];

  constructor(server: string, method: string, error: JSONRPCErrorResponse['error']) {
    const isOurs = toGatewayError(server, error) !== undefined;
    super(isOurs ? error.message : `"${server}": ${method} was answered with error ${error.code}: ${error.message}`);
    this.name = 'ServerError';
    this.server = server;
    this.error = error;
  }
}
