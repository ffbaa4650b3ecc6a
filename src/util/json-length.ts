/** How long a value is as JSON, in characters; 0 for what cannot be written so, which only what is in this process gives. */
export function jsonLength(value: unknown): number {
  try {
    return JSON.stringify(value)?.length ?? 0;
  } catch {
    return 0;
  }
}
