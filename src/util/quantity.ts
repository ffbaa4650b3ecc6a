const durationUnits: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const sizeUnits: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** Milliseconds of `500ms`, `30s`, `5m`, `2h`, `1d` or `0`; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  return parseQuantity(text, durationUnits);
}

/** What a schema says of something that {@link parseDuration} does not take. */
export function durationProblem({ input }: { readonly input: unknown }): string {
  if (typeof input !== 'number' || input < 0) {
    return 'is not a duration; write it as 500ms, 30s or 5m';
  }
  // Some mean seconds, others milliseconds.
  return input === 0 ? 'must be a string: quote it, as in "0"' : `has no unit; write it as "${input}s" or "${input}ms"`;
}

/** Bytes of `512B`, `64KiB`, `16MiB`, `1GiB` or `0`; undefined for anything else. */
export function parseSize(text: string): number | undefined {
  return parseQuantity(text, sizeUnits);
}

/** A number of bytes in the largest unit that it reaches, for people. */
export function formatSize(bytes: number): string {
  const [unit, size] = Object.entries(sizeUnits).findLast(([, size]) => bytes >= size) ?? ['B', 1];
  return `${Number((bytes / size).toFixed(2))} ${unit}`;
}

/** A duration for people: `500ms`, `1.5s`, `60s`, `4m 50s`, `2h 5m`. A unit counts from two of it on. */
export function formatDuration(ms: number): string {
  if (ms < 10_000) {
    return ms < 1000 ? `${Math.round(ms)}ms` : `${Number((ms / 1000).toFixed(1))}s`;
  }
  const rounded = Math.round(ms / 1000) * 1000;
  const units = Object.entries(durationUnits).slice(1);
  const index = units.findLastIndex(([, unit]) => rounded >= 2 * unit);
  const [name, unit] = units[index] ?? ['s', 1000];
  const [smallerName, smaller] = units[index - 1] ?? ['', rounded];
  const rest = Math.floor((rounded % unit) / smaller);
  return `${Math.floor(rounded / unit)}${name}${rest === 0 ? '' : ` ${rest}${smallerName}`}`;
}

function parseQuantity(text: string, units: Readonly<Record<string, number>>): number | undefined {
  if (text === '0') {
    return 0;
  }
  const match = /^(\d{1,12}(?:\.\d{1,3})?)([A-Za-z]{1,3})$/.exec(text);
  const unit = match?.[2] === undefined || !Object.hasOwn(units, match[2]) ? undefined : units[match[2]];
  return unit === undefined ? undefined : Math.round(Number(match?.[1]) * unit);
}
