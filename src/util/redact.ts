const patterns = new WeakMap<
  ReadonlyMap<string, string>,
  { size: number; pattern: RegExp; names: Map<string, string> }
>();

/**
 * Replaces every secret in `text` by what stands for it, as in `${DB_PASSWORD}`. Also finds a secret that was escaped
 * for JSON or a URL, and single lines of one that has several.
 */
export function redact(text: string, secrets: ReadonlyMap<string, string>): string {
  if (secrets.size === 0) {
    return text;
  }
  let known = patterns.get(secrets);
  if (known === undefined || known.size !== secrets.size) {
    known = compile(secrets);
    patterns.set(secrets, known);
  }
  const { pattern, names } = known;
  return text.replaceAll(pattern, (found) => names.get(found) ?? '***');
}

function compile(secrets: ReadonlyMap<string, string>) {
  const names = new Map<string, string>();
  for (const [value, name] of secrets) {
    for (const form of formsOf(value)) {
      if (!names.has(form)) {
        names.set(form, name);
      }
    }
  }
  // The longest first: a secret may be a part of another one.
  const forms = [...names.keys()].sort((a, b) => b.length - a.length);
  return { size: secrets.size, pattern: new RegExp(forms.map(escapeForPattern).join('|'), 'g'), names };
}

function* formsOf(value: string): Generator<string> {
  yield value;
  yield JSON.stringify(value).slice(1, -1);
  try {
    yield encodeURIComponent(value);
    yield encodeURI(value);
    yield new URLSearchParams([['', value]]).toString().slice(1);
  } catch {
    // Lone surrogates cannot stand in a URL.
  }
  if (value.includes('\n')) {
    for (const line of value.split(/\r?\n/)) {
      // The frame of a PEM block is no secret, and short lines are found everywhere.
      if (line.length >= 16 && !line.startsWith('-----')) {
        yield line;
      }
    }
  }
}

function escapeForPattern(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}
