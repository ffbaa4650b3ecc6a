/**
 * True when `text` matches `pattern`, in which `*` stands for any characters. Takes time in proportion to the product of
 * the lengths at worst: no pattern makes it explode.
 */
export function matchesGlob(pattern: string, text: string): boolean {
  let p = 0;
  let t = 0;
  let star = -1;
  let resume = 0;
  while (t < text.length) {
    if (pattern[p] === '*') {
      star = p;
      resume = t;
      p += 1;
    } else if (pattern[p] === text[t]) {
      p += 1;
      t += 1;
    } else if (star !== -1) {
      // Let the last star take one character more.
      p = star + 1;
      resume += 1;
      t = resume;
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') {
    p += 1;
  }
  return p === pattern.length;
}

/** Which tools of a server callers may see and call, by the server's own names. */
export interface ToolFilter {
  readonly allow: readonly string[] | undefined;
  readonly deny: readonly string[];
}

/** `deny` wins over `allow`; without `allow` everything is allowed. */
export function isToolAllowed(filter: ToolFilter, name: string): boolean {
  return (
    (filter.allow === undefined || filter.allow.some((pattern) => matchesGlob(pattern, name))) &&
    !filter.deny.some((pattern) => matchesGlob(pattern, name))
  );
}
