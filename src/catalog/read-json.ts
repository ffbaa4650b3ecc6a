import { LineIndex } from './line-index.js';
import { type ReadText, type TextProblem, textLimits } from './read-text.js';
import { forbiddenKeys } from './replace-variables.js';
import { type Origin, remember } from './source.js';

/** Reads strict JSON and remembers where each value was written. Takes time in proportion to the text. */
export function readJson(text: string): ReadText & { readonly hasComment: boolean } {
  const reader = new JsonReader(text);
  try {
    return { data: reader.document(), problems: reader.problems, hasComment: false };
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) {
      throw error;
    }
    const { offset } = error;
    // Many programs take them, and nothing else begins so. Two slashes with text behind them may be a value in YAML.
    const hasComment = comment.test(text.slice(offset, offset + 3));
    const message = hasComment ? 'comments have no place in it; remove them' : error.message;
    const position = new LineIndex(text).position(offset);
    return { data: undefined, problems: [{ path: [], message: `is not JSON: ${message}`, position }], hasComment };
  }
}

class JsonSyntaxError extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

const numberPattern = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const comment = /^\/(?:\*|\/[\s"{[])/;
const blankPattern = /[ \t\r\n]*/y;

class JsonReader {
  readonly problems: TextProblem[] = [];
  readonly #text: string;
  readonly #lines: LineIndex;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
    this.#lines = new LineIndex(text);
  }

  document(): unknown {
    this.#skipBlanks();
    const value = this.#value(undefined, []);
    this.#skipBlanks();
    if (this.#at < this.#text.length) {
      this.#fail('nothing may follow the end of the document');
    }
    return value;
  }

  #value(parent: object | undefined, path: readonly PropertyKey[]): unknown {
    switch (this.#text[this.#at]) {
      case '{':
        return this.#object(parent, path);
      case '[':
        return this.#list(parent, path);
      case '"':
        return this.#string();
      case 't':
        return this.#word('true', true);
      case 'f':
        return this.#word('false', false);
      case 'n':
        return this.#word('null', null);
      default:
        return this.#number();
    }
  }

  #object(parent: object | undefined, path: readonly PropertyKey[]): object {
    const object: Record<string, unknown> = Object.create(null);
    const origin = this.#begin(object, parent, path);
    const seen = new Set<string>();
    while (this.#continues('}', seen.size === 0)) {
      const start = this.#at;
      if (this.#text[start] !== '"') {
        this.#fail('a key in double quotes must stand here');
      }
      const key = this.#string();
      const below = [...path, key];
      this.#skipBlanks();
      this.#expect(':', `a ":" must follow the key`);
      this.#skipBlanks();
      const valueStart = this.#at;
      const value = this.#value(object, below);
      const position = this.#lines.position(start);
      if (seen.has(key)) {
        this.#report({ path: below, message: 'is given twice: keep one', position, atKey: true });
      } else if (forbiddenKeys.has(key)) {
        const message = `the key ${JSON.stringify(key)} is not allowed: choose another name`;
        this.#report({ path: below, message, position, atKey: true });
      } else {
        object[key] = value;
        this.#note(origin, key, start, valueStart, value);
      }
      seen.add(key);
      if (seen.size > textLimits.keys) {
        this.#fail(`an object has more than ${textLimits.keys} keys`);
      }
    }
    return Object.freeze(object);
  }

  #list(parent: object | undefined, path: readonly PropertyKey[]): readonly unknown[] {
    const list: unknown[] = [];
    const origin = this.#begin(list, parent, path);
    while (this.#continues(']', list.length === 0)) {
      const start = this.#at;
      const value = this.#value(list, [...path, list.length]);
      this.#note(origin, list.length, start, start, value);
      list.push(value);
    }
    return Object.freeze(list);
  }

  #begin(value: object, parent: object | undefined, path: readonly PropertyKey[]): Origin {
    if (path.length >= textLimits.depth) {
      this.#fail(`is nested more than ${textLimits.depth} levels deep`);
    }
    const origin = remember(value, parent, this.#lines.position(this.#at));
    this.#at++;
    return origin;
  }

  /** Steps over the comma to the next member; false behind the end of the object or list. */
  #continues(end: string, first: boolean): boolean {
    this.#skipBlanks();
    if (this.#text[this.#at] === end) {
      this.#at++;
      return false;
    }
    if (!first) {
      this.#expect(',', `a "," or "${end}" must stand here`);
      this.#skipBlanks();
    }
    return true;
  }

  #note(origin: Origin, key: PropertyKey, start: number, valueStart: number, value: unknown): void {
    const written = typeof value === 'number' || typeof value === 'boolean';
    origin.places.set(key, {
      key: this.#lines.position(start),
      value: start === valueStart ? this.#lines.position(start) : this.#lines.position(valueStart),
      text: written ? this.#text.slice(valueStart, Math.min(this.#at, valueStart + 40)) : undefined,
    });
  }

  #string(): string {
    const start = this.#at;
    let end = start + 1;
    for (; this.#text[end] !== '"'; end++) {
      const code = this.#text.charCodeAt(end);
      if (Number.isNaN(code)) {
        this.#fail('the string that begins here has no end');
      }
      if (code < 0x20) {
        this.#at = end;
        this.#fail('a control character in a string must be escaped');
      }
      if (code === 0x5c) {
        end++;
      }
    }
    this.#at = end + 1;
    try {
      return JSON.parse(this.#text.slice(start, this.#at)) as string;
    } catch {
      this.#at = start;
      return this.#fail('the string that begins here has a wrong escape');
    }
  }

  #number(): number {
    numberPattern.lastIndex = this.#at;
    const written = numberPattern.exec(this.#text)?.[0];
    if (written === undefined) {
      return this.#fail(this.#at < this.#text.length ? 'a value must stand here' : 'the document ends too early');
    }
    this.#at += written.length;
    return Number(written);
  }

  #word<Value>(word: string, value: Value): Value {
    if (!this.#text.startsWith(word, this.#at)) {
      this.#fail('a value must stand here');
    }
    this.#at += word.length;
    return value;
  }

  #expect(character: string, message: string): void {
    if (this.#text[this.#at] !== character) {
      this.#fail(message);
    }
    this.#at++;
  }

  #skipBlanks(): void {
    blankPattern.lastIndex = this.#at;
    this.#at += blankPattern.exec(this.#text)?.[0].length ?? 0;
  }

  #report(problem: TextProblem): void {
    if (this.problems.length < textLimits.problems) {
      this.problems.push(problem);
    }
  }

  #fail(message: string): never {
    throw new JsonSyntaxError(message, this.#at);
  }
}
