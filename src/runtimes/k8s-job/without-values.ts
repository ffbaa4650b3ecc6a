/** A copy of a manifest in which variables have their names alone: somebody may have put a secret there. */
export function withoutValues(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) {
    return value.map((element) => (key === 'env' ? nameOf(element) : withoutValues(element)));
  }
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, withoutValues(field, name)]));
}

function nameOf(variable: unknown): unknown {
  if (typeof variable !== 'object' || variable === null) return null;
  const { value: _, ...rest } = variable as Record<string, unknown>;
  return rest;
}
