import * as v from 'valibot';
import { isFunction } from '../../checks/check-options.js';
import * as kinds from '../../checks/option-kinds.js';
import type { TlsOptions } from '../../transport/http/connections.js';

const part = v.optional(v.any());
const tls = v.strictObject({ ca: part, cert: part, key: part, passphrase: part } satisfies kinds.Schemas<TlsOptions>);

/** The options of every runtime whose servers speak HTTP. */
export const httpOptions = {
  headers: kinds.optionalFunction,
  tls: v.optional(v.union([tls, v.custom(isFunction)], 'must be an object or a function')),
  connectTimeoutMs: kinds.numberFrom0,
  headersTimeoutMs: kinds.numberFrom0,
};
