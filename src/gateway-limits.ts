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

/** @param limits - as they were checked */
export function resolveLimits({ starting, instances, memory }: GatewayLimits = {}): ResolvedLimits {
  return {
    starting: starting ?? defaultStarting,
    instances: instances ?? Number.POSITIVE_INFINITY,
    memoryBytes: memory === undefined ? undefined : parseSize(memory),
  };
}
