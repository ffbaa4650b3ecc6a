import { randomUUID } from 'node:crypto';
import { systemClock } from '../options.js';
import type { RuntimeContext } from '../runtime.js';

/**
 * Makes the context that a gateway would hand to a runtime, for tests that call `open` or `check` themselves.
 *
 * @param overrides - what differs from an entry `reference` with an empty environment and the default limits
 */
export function createRuntimeContext(overrides: Partial<RuntimeContext> = {}): RuntimeContext {
  return {
    server: 'reference',
    env: {},
    baseDir: process.cwd(),
    instanceId: `instance-${randomUUID().slice(0, 8)}`,
    gatewayId: `gateway-${randomUUID().slice(0, 8)}`,
    signal: new AbortController().signal,
    report: () => {},
    conceal: () => {},
    limits: { maxMessageBytes: 16 * 1024 * 1024, stderrTailBytes: 64 * 1024 },
    clock: systemClock,
    ...overrides,
  };
}
