import { createHash } from 'node:crypto';
import type { TlsOptions } from '../../transport/http/connections.js';

/** Tells certificates apart from others without keeping them: a key is among them. */
export function fingerprintOf(tls: TlsOptions | undefined): string {
  return createHash('sha256')
    .update(JSON.stringify(tls ?? null))
    .digest('hex');
}
