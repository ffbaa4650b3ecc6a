/** An error and what caused it, the outermost first. Of several that came together the first stands for all. */
export function causesOf(error: unknown): Error[] {
  const causes: Error[] = [];
  // The causes of a cause may go in a circle.
  for (let at = error; causes.length < 6 && at instanceof Error; ) {
    causes.push(at);
    at = at instanceof AggregateError ? at.errors[0] : at.cause;
  }
  return causes;
}
