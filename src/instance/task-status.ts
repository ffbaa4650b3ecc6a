const final = new Set<unknown>(['completed', 'failed', 'cancelled']);

/** Whether a task of this status has ended for good. */
export function hasEnded(status: unknown): boolean {
  return final.has(status);
}
