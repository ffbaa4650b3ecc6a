import { GatewayError } from '../../errors.js';
import type { TlsOptions } from '../../transport/http/connections.js';
import { textOf } from '../../util/text-of.js';

/**
 * The certificates for a server.
 *
 * @throws `GatewayError` `START_FAILED` when the host's function fails
 */
export function tlsOf(
  tls: TlsOptions | ((server: string) => TlsOptions | undefined) | undefined,
  server: string,
): TlsOptions | undefined {
  if (typeof tls !== 'function') return tls;
  try {
    return tls(server);
  } catch (cause) {
    const message = `the tls function of the host failed: ${textOf(cause)}`;
    throw new GatewayError('START_FAILED', message, { server, cause, delivered: false });
  }
}
