/** What an error says; of anything else that was thrown its text. */
export function textOf(error: unknown): string {
  try {
    return error instanceof Error ? error.message : String(error);
  } catch {
    // Not everything that can be thrown is a text, too: an object without a prototype is none.
    return 'something without a text was thrown';
  }
}
