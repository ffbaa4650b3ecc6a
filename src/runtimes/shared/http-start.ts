import { GatewayError } from '../../errors.js';
import { describeNetworkError } from '../../transport/http/network.js';
import { showUrl } from '../../transport/http/status.js';
import { messageOf } from '../../util/copy-error.js';

/** `error` as what `open` rejects with; what the caller has to do about access keeps its code. */
export function toHttpStartError(error: unknown, url: URL, server: string): GatewayError {
  if (!GatewayError.is(error)) {
    const message = `could not connect to ${showUrl(url)}: ${describeNetworkError(error, url)}`;
    return new GatewayError('START_FAILED', message, { server, cause: error, delivered: false });
  }
  if (error.code === 'AUTH_REQUIRED' || error.code === 'AUTH_FAILED') return error;
  const { cause, status, retryAfterMs } = error;
  const message = messageOf(error);
  return new GatewayError('START_FAILED', message, { server, cause, status, retryAfterMs, delivered: false });
}
