const units: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 };

/** Bytes of `512m`, `1.5g`, `64MiB` or `536870912`, as Docker reads them; undefined for anything else. */
export function parseMemory(text: string): number | undefined {
  const match = /^(\d{1,15}(?:\.\d{1,6})?) ?(?:([kmgt])(?:i?b)?|b)?$/i.exec(text);
  if (match === null) {
    return undefined;
  }
  const bytes = Math.round(Number(match[1]) * (units[(match[2] ?? '').toLowerCase()] ?? 1));
  return bytes <= Number.MAX_SAFE_INTEGER ? bytes : undefined;
}

/** Billionths of a processor of `0.5` or `2`; undefined for anything else. */
export function parseCpus(value: string | number): number | undefined {
  if (!/^\d{1,6}(?:\.\d{1,9})?$/.test(String(value))) {
    return undefined;
  }
  return Math.round(Number(value) * 1e9);
}

/** A whole number of processes; undefined for anything else. */
export function parsePids(value: string | number): number | undefined {
  return /^\d{1,9}$/.test(String(value)) ? Number(value) : undefined;
}
