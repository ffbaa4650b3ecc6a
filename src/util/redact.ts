// What is left of a secret in one of its forms counts from so many characters on: shorter texts are found everywhere. Less
// will do for one that was written out whole.
const shortestPiece = 8;
const shortest = 4;

// V8 compiles no pattern in which a text of 32 KiB stands: by so many characters it finds where a form may begin.
const headLength = 32;

interface Search {
  /** How many secrets there were. */
  readonly size: number;
  /** Each form of each secret, with what stands for it. */
  readonly names: ReadonlyMap<string, string>;
  /** The longest first: a secret may be a part of another one. */
  readonly forms: readonly string[];
  readonly heads: RegExp;
}

const searches = new WeakMap<ReadonlyMap<string, string>, Search>();

/** Replaces every secret in `text` by what stands for it, as in `${DB_PASSWORD}`, in whatever form it stands there. */
export function redact(text: string, secrets: ReadonlyMap<string, string>): string {
  if (secrets.size === 0) {
    return text;
  }
  const { names, forms, heads } = searchFor(secrets);
  let shown = '';
  let end = 0;
  heads.lastIndex = 0;
  for (let match = heads.exec(text); match !== null; match = heads.exec(text)) {
    const { 0: head, index } = match;
    // One that is shorter is a whole form, and no longer one stands there.
    const form = head.length < headLength ? head : forms.find((each) => text.startsWith(each, index));
    if (form === undefined) {
      heads.lastIndex = index + 1;
    } else {
      shown += text.slice(end, index) + names.get(form);
      end = index + form.length;
      heads.lastIndex = end;
    }
  }
  return shown + text.slice(end);
}

/** All that {@link redact} looks for. */
export function formsIn(secrets: ReadonlyMap<string, string>): readonly string[] {
  return searchFor(secrets).forms;
}

function searchFor(secrets: ReadonlyMap<string, string>): Search {
  const { size } = secrets;
  let search = searches.get(secrets);
  if (search?.size !== size) {
    // One that is a form of another has its own name.
    const names = new Map(secrets);
    for (const [value, name] of secrets) {
      for (const form of formsOf(value)) {
        names.has(form) || names.set(form, name);
      }
    }
    names.delete('');
    const forms = [...names.keys()].sort((a, b) => b.length - a.length);
    const heads = new Set(forms.map((form) => escapeForPattern(form.slice(0, headLength))));
    // Of no form at all, nothing is found.
    search = { size, names, forms, heads: new RegExp([...heads].join('|') || '(?!)', 'g') };
    searches.set(secrets, search);
  }
  return search;
}

/** How `value` may stand in a text: as it is, as JSON, base64, URLs and headers have it, and the lines of one that has several. */
function formsOf(value: string): Set<string> {
  if (/^[\w.-]+$/.test(value)) {
    // All others leave it as it is.
    return new Set([value, toBase64(value)]);
  }
  const { length } = value.trim();
  const least = length < shortest ? value.length : Math.min(shortestPiece, length);
  return new Set([...writtenForms(value)].filter((form) => form === value || form.length >= least));
}

function* writtenForms(value: string): Generator<string> {
  // Headers and URLs lose what is blank around it, and messages the rows of blanks.
  for (const text of new Set([value, value.trim(), value.replaceAll(/[\p{Cc}\s]+/gu, ' ').trim()])) {
    const json = JSON.stringify(text).slice(1, -1);
    yield text;
    yield json;
    yield JSON.stringify(json).slice(1, -1);
    yield json.replaceAll(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
    yield toBase64(text);
    yield* urlForms(text);
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

function toBase64(text: string): string {
  return Buffer.from(text).toString('base64').replace(/=+$/, '');
}

function* urlForms(text: string): Generator<string> {
  yield orNothing(() => encodeURIComponent(text));
  yield orNothing(() => encodeURI(text));
  yield new URLSearchParams([['', text]]).toString().slice(1);
  // A parser writes some characters in another way than all of these, and takes some away. A server may read what it wrote.
  const { pathname, search } = new URL(`http://a/${text}`);
  const path = pathname.slice(1);
  for (const form of [path, path + search, new URL(`http://a/?${text}`).search.slice(1)]) {
    yield form;
    yield orNothing(() => decodeURIComponent(form));
  }
}

/** Some cannot be written in a URL, as lone surrogates, or be read from one. */
function orNothing(convert: () => string): string {
  try {
    return convert();
  } catch {
    return '';
  }
}

function escapeForPattern(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}
