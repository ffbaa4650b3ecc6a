import type { Transport } from '../sdk.js';

/**
 * Runs a callback of whoever uses `transport`. What it throws goes to `onerror`: it is nobody else's fault, so it must
 * neither reach the peer nor end the process.
 */
export function runCallback(transport: Pick<Transport, 'onerror'>, run: () => void): void {
  try {
    run();
  } catch (error) {
    try {
      transport.onerror?.(error instanceof Error ? error : new Error(String(error)));
    } catch {
      // There is nobody left to tell.
    }
  }
}
