/** A path into a catalog or into options: keys and indexes. */
export type Path = readonly PropertyKey[];

/** `servers[0].runtime.url`; a key that is no plain word is quoted. */
export function formatPath(path: Path): string {
  let text = '';
  for (const key of path) {
    if (typeof key === 'number') {
      text += `[${key}]`;
    } else if (/^[A-Za-z_][\w-]{0,63}$/.test(String(key))) {
      text += text === '' ? String(key) : `.${String(key)}`;
    } else {
      text += `[${quote(String(key))}]`;
    }
  }
  return text;
}

/** A word of the catalog in a message: quoted, on one line, not too long, and nothing in it that a terminal obeys. */
export function quote(text: string): string {
  const quoted = JSON.stringify(text.length > 64 ? `${text.slice(0, 63)}…` : text);
  return quoted.replace(unseen, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

// What JSON leaves as it is: controls of eight bits, other ends of lines, what turns the direction of text, and what is not
// seen or looks like a space.
const unseen = /[\x7f-\xa0\xad\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]/g;
