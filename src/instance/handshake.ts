import { errorNumbers, GatewayError, type GatewayErrorOptions } from '../errors.js';
import { textOf } from '../util/text-of.js';
import type { Response, RpcError } from './exchanges.js';

/** What a server answered to `initialize`. */
export interface Handshake {
  readonly protocolVersion: string;
  readonly capabilities: Readonly<Record<string, unknown>>;
  readonly instructions: string | undefined;
  /** The whole answer. */
  readonly result: Readonly<Record<string, unknown>>;
}

/** @throws `GatewayError`: our own that came instead of an answer, or `START_FAILED` */
export function readHandshake(server: string, response: Response): Handshake {
  if ('error' in response) {
    throw (
      toGatewayError(server, response.error) ??
      startFailed(server, `the server refused initialize: ${response.error.message}`)
    );
  }
  const { protocolVersion, capabilities, instructions } = response.result;
  if (typeof protocolVersion !== 'string' || typeof capabilities !== 'object' || capabilities === null) {
    throw startFailed(server, 'the answer to initialize has no protocolVersion or no capabilities');
  }
  return {
    protocolVersion,
    // An empty object of PHP is a list in its JSON.
    capabilities: Array.isArray(capabilities) ? {} : (capabilities as Readonly<Record<string, unknown>>),
    instructions: typeof instructions === 'string' ? instructions : undefined,
    result: response.result,
  };
}

function startFailed(server: string, message: string): GatewayError {
  return new GatewayError('START_FAILED', message, { server, delivered: false });
}

/** The `GatewayError` behind an error response of our own; undefined for a server's. */
export function toGatewayError(server: string, error: RpcError): GatewayError | undefined {
  const code = (error.data as { code?: unknown } | undefined)?.code;
  if (typeof code !== 'string' || !Object.hasOwn(errorNumbers, code)) {
    return undefined;
  }
  const said = textOf(error.message);
  const text = said.startsWith(`"${server}": `) ? said.slice(server.length + 4) : said;
  // Unknown is what became of our own request: the caller's has not been sent.
  const message = text.replace(/^(\S+ got no answer), outcome unknown: /, '$1: ');
  const { exit, status, retryAfterMs, auth } = error.data as GatewayErrorOptions;
  const options = { server, exit, status, retryAfterMs, auth, delivered: false };
  return new GatewayError(code as GatewayError['code'], message, options);
}
