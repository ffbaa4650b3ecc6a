import { type AuthInfo, type GatewayError, tailSuffix } from '../errors.js';
import { withoutControls } from '../transport/output-tail.js';
import { copyError, messageOf } from '../util/copy-error.js';
import { isError } from '../util/is-error.js';
import { formsIn, redact } from '../util/redact.js';
import { textOf } from '../util/text-of.js';

/** Replaces secrets in texts and errors. */
export interface Redactor {
  text(text: string): string;
  /** An error without secrets: the same one when it holds none, else a copy whose cause keeps name and message alone. */
  error(error: GatewayError): GatewayError;
  /** One that knows these secrets too, given as to {@link createRedactor}. */
  with(more: ReadonlyMap<string, string>): Redactor;
}

// Where a text was cut, part of a secret may be left: from this many characters on it counts as one.
const shortestPart = 4;
// To look at the ends of each takes its time: a text that was shortened more often is a server's own.
const mostParts = 10;

const withoutAny: Redactor = { text: (text) => text, error: (error) => error, with: createRedactor };

/** @param secrets - each secret value, and what stands in its place, such as `${DB_PASSWORD}` */
export function createRedactor(given: ReadonlyMap<string, string>): Redactor {
  if (given.size === 0) {
    return withoutAny;
  }
  const secrets = new Map(given);
  for (const [value, name] of given) {
    // As it stands in the tail of stderr, from which control characters are removed.
    for (const plain of [withoutControls(value), value.replaceAll(/[^\P{Cc}\n\t]/gu, '')]) {
      if (plain.length >= shortestPart && !secrets.has(plain)) {
        secrets.set(plain, name);
      }
    }
  }
  const text = (value: string) => redact(value, secrets);
  const cut = (value: string) => {
    const all = formsIn(secrets);
    // Where a text was shortened, it says so.
    const parts = value.split('…');
    return text((parts.length > mostParts ? [value] : parts).map((part) => cutParts(part, all)).join('…'));
  };
  // One reason may be told to hundreds of requests.
  const known = new WeakMap<GatewayError, GatewayError>();

  const redactError = (error: GatewayError): GatewayError => {
    const { exit, cause, auth } = error;
    // The message may end with a part of the tail, cut off anywhere: that part is made anew.
    const suffix = exit === undefined ? '' : tailSuffix(exit.stderrTail);
    const message = messageOf(error);
    const tail = exit === undefined ? '' : cut(exit.stderrTail);
    return copyError(error, {
      message:
        suffix !== '' && message.endsWith(suffix)
          ? text(message.slice(0, -suffix.length)) + tailSuffix(tail)
          : cut(message),
      exit: exit && { ...exit, stderrTail: tail },
      auth: auth && redactAuth(auth, text),
      cause: cause === undefined ? undefined : withoutSecrets(cause, text),
    });
  };

  return {
    text,
    error(error) {
      let redacted = known.get(error);
      if (redacted === undefined) {
        redacted = redactError(error);
        known.set(error, redacted).set(redacted, redacted);
      }
      return redacted;
    },
    with: (more) => createRedactor(new Map([...more, ...given])),
  };
}

/** Knows what another one knows at the time. */
abstract class FollowingRedactor implements Redactor {
  protected abstract get current(): Redactor;

  text(text: string): string {
    return this.current.text(text);
  }

  error(error: GatewayError): GatewayError {
    return this.current.error(error);
  }

  with(more: ReadonlyMap<string, string>): Redactor {
    return new ExtendedRedactor(() => this.current, more);
  }
}

/** Knows some more. */
class ExtendedRedactor extends FollowingRedactor {
  readonly #follow: () => Redactor;
  readonly #more: ReadonlyMap<string, string>;
  #base: Redactor;
  #extended: Redactor;

  constructor(follow: () => Redactor, more: ReadonlyMap<string, string>) {
    super();
    this.#follow = follow;
    this.#more = more;
    this.#base = follow();
    this.#extended = this.#base.with(more);
  }

  protected get current(): Redactor {
    const base = this.#follow();
    if (base !== this.#base) {
      this.#base = base;
      this.#extended = base.with(this.#more);
    }
    return this.#extended;
  }
}

/** Knows the secrets of an entry, of which a reload may name others while its servers run. */
export class EntryRedactor extends FollowingRedactor {
  #entry: Redactor;

  /** @param secrets - as for {@link createRedactor} */
  constructor(secrets: ReadonlyMap<string, string>) {
    super();
    this.#entry = createRedactor(secrets);
  }

  protected get current(): Redactor {
    return this.#entry;
  }

  /** From here on it knows these instead. */
  replace(secrets: ReadonlyMap<string, string>): void {
    this.#entry = createRedactor(secrets);
  }
}

/** Takes away the end of a secret at the start of `text`, and the start of one at its end: there a text may have been cut. */
function cutParts(whole: string, all: readonly string[]): string {
  // A character may have been cut too, which leaves the replacement character.
  const text = withoutEnds(whole, '\ufffd');
  let start = 0;
  let end = text.length;
  // A whole one is replaced as such: what it begins or ends with is no part of another.
  const wholeStart = all.some((secret) => text.startsWith(secret));
  const wholeEnd = all.some((secret) => text.endsWith(secret));
  for (const secret of text.length < shortestPart ? [] : all) {
    start = wholeStart ? 0 : Math.max(start, partAtStart(text, secret));
    end = wholeEnd ? end : Math.min(end, text.length - partAtEnd(text, secret));
  }
  return start === 0 && end === text.length
    ? text
    : `${start > 0 ? '…' : ''}${text.slice(start, Math.max(start, end))}`;
}

// Not by each length, of which a certificate has thousands: a part is looked for by the first or last characters of the text.

/** How long the longest end of `secret` is, but not the whole, with which `text` begins. */
function partAtStart(text: string, secret: string): number {
  const first = text.slice(0, shortestPart);
  const from = Math.max(1, secret.length - text.length);
  for (let at = secret.indexOf(first, from); at >= 0; at = secret.indexOf(first, at + 1)) {
    if (text.startsWith(secret.slice(at))) {
      return secret.length - at;
    }
  }
  return 0;
}

/** How long the longest beginning of `secret` is, but not the whole, with which `text` ends. */
function partAtEnd(text: string, secret: string): number {
  const last = text.slice(-shortestPart);
  let length = Math.min(secret.length - 1, text.length);
  while (length >= shortestPart) {
    length = secret.lastIndexOf(last, length - shortestPart) + shortestPart;
    if (length >= shortestPart && text.endsWith(secret.slice(0, length))) {
      return length;
    }
    length -= 1;
  }
  return 0;
}

/** Not by a pattern, which would look through a long run of them from each one. */
function withoutEnds(text: string, character: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && text[start] === character) {
    start += 1;
  }
  while (end > start && text[end - 1] === character) {
    end -= 1;
  }
  return text.slice(start, end);
}

/** The path of a URL may be a secret, and the address of its metadata repeats it (RFC 9728). */
function redactAuth({ serverUrl, resourceMetadataUrl, scope }: AuthInfo, text: (value: string) => string): AuthInfo {
  return {
    serverUrl: text(serverUrl),
    ...(resourceMetadataUrl !== undefined && { resourceMetadataUrl: text(resourceMetadataUrl) }),
    ...(scope !== undefined && { scope: text(scope) }),
  };
}

// Errors of the system and of libraries carry arguments and headers in properties of their own.
function withoutSecrets(cause: unknown, text: (value: string) => string): unknown {
  if (!isError(cause)) {
    return text(textOf(cause));
  }
  const copy = new Error(text(cause.message));
  copy.name = cause.name;
  return copy;
}
