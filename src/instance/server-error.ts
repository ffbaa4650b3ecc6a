import type { JSONRPCErrorResponse } from '../sdk.js';

/** An error that a server answered, kept as it came. */
export class ServerError extends Error {
  readonly server: string;
  readonly error: JSONRPCErrorResponse['error'];

  constructor(server: string, method: string, error: JSONRPCErrorResponse['error']) {
    super(`"${server}": ${method} was answered with error ${error.code}: ${error.message}`);
    this.name = 'ServerError';
    this.server = server;
    this.error = error;
  }
}
