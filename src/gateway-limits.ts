import { GatewayError } from './errors.js';
import type { GatewayLimits } from './gateway-api.js';
import { parseSize } from './util/quantity.js';

/** The limits of a gateway, with those that the host did not give. */
export interface ResolvedLimits {
  readonly starting: number;
  readonly instances: number;
  /** Undefined for no limit; never 0. */
  readonly memoryBytes: number | undefined;
}

const defaultStarting = 8;

/** @throws `GatewayError` `OPTION_INVALID` */
export function resolveLimits({ starting, instances, memory }: GatewayLimits = {}): ResolvedLimits {
  return {
    starting: toCount('limits.starting', starting) ?? defaultStarting,
    instances: toCount('limits.instances', instances) ?? Number.POSITIVE_INFINITY,
    memoryBytes: toBytes('limits.memory', memory),
  };
}

function toCount(name: string, value: number | undefined): number | undefined {
  if (value === undefined || (value >= 1 && (Number.isSafeInteger(value) || value === Number.POSITIVE_INFINITY))) {
    return value;
  }
  throw new GatewayError('OPTION_INVALID', `${name} must be a whole number from 1, not ${String(value)}`);
}

function toBytes(name: string, value: string | undefined): number | undefined {
  if (value === undefined) {
    return undefined;
  }
  const bytes = typeof value === 'string' ? parseSize(value) : undefined;
  if (bytes === undefined || bytes === 0) {
    throw new GatewayError('OPTION_INVALID', `${name} must be a size such as "2GiB", not ${JSON.stringify(value)}`);
  }
  return bytes;
}
