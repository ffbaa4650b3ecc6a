import type { Document, ParsedNode, YAMLError } from 'yaml';
import { LineIndex } from './line-index.js';
import { type ReadText, type TextProblem, textLimits } from './read-text.js';
import { forbiddenKeys } from './replace-variables.js';
import { type Origin, remember } from './source.js';
import { readGuarded } from './yaml-guards.js';

type Yaml = typeof import('yaml');

/** Reads one YAML 1.2 document of plain data and remembers where each value was written. */
export async function readYaml(text: string): Promise<ReadText> {
  // Programs whose catalogs are written in code never load the parser.
  const { default: yaml } = await import('yaml');
  const lines = new LineIndex(text);
  const guarded = readGuarded(text, new yaml.Parser());
  if ('message' in guarded) {
    return {
      data: undefined,
      problems: [{ path: [], message: guarded.message, position: lines.position(guarded.offset) }],
    };
  }
  // The parser's own search for duplicate keys takes quadratic time.
  const composer = new yaml.Composer({ version: '1.2', schema: 'core', uniqueKeys: false, merge: false });
  const [document] = [...composer.compose(guarded.tokens, true, text.length)];
  if (document === undefined) {
    return { data: undefined, problems: [{ path: [], message: 'is not YAML', position: lines.position(0) }] };
  }
  const all = [...document.errors, ...document.warnings];
  const unquoted = all.filter(({ pos: [start] }) => text.startsWith('${', start - 1));
  // What follows such a one makes no sense to the parser.
  const faults = unquoted.length > 0 ? unquoted : all;
  if (faults.length > 0) {
    const problems = faults.slice(0, textLimits.problems).map((fault) => ({
      path: [],
      message: unquoted.length > 0 ? unquotedVariable : describe(fault),
      position: lines.position(Math.max(fault.pos[0], 0)),
    }));
    return { data: undefined, problems };
  }
  const reader = new YamlReader(yaml, lines);
  return { data: reader.read(document), problems: reader.problems };
}

const plainTags: ReadonlySet<string> = new Set([
  '!',
  ...['str', 'int', 'float', 'bool', 'null', 'map', 'seq'].map((name) => `tag:yaml.org,2002:${name}`),
]);
const unquotedVariable = 'has a "${…}" without quotes inside { } or [ ]: quote it, as in { TOKEN: "${TOKEN}" }';
const unsupportedAlias = 'aliases are not supported: write the value out, or quote a text that begins with "*"';
const unsupportedTag = 'has a tag that is not supported: remove the "!…"';

const noKey = 'is no key with a value: write a blank after the ":", and indent what belongs together alike';

const messages: Partial<Record<YAMLError['code'], string>> = {
  BAD_ALIAS: unsupportedAlias,
  BAD_SCALAR_START: 'begins with a character that means something else in YAML: quote it',
  BLOCK_AS_IMPLICIT_KEY: 'has a ":" too many: quote the value, or indent the lines below it',
  BAD_DQ_ESCAPE: 'has a wrong escape in double quotes: use single quotes, or write \\\\ for a backslash',
  KEY_OVER_1024_CHARS: 'has a key of more than 1024 characters',
  MULTILINE_IMPLICIT_KEY: noKey,
  MULTIPLE_DOCS: 'a catalog is one document: remove the "---" between documents',
  TAB_AS_INDENT: 'is indented by a tab: use spaces',
  TAG_RESOLVE_FAILED: unsupportedTag,
};

/** What the parser says, without the piece of text that it may repeat: that may be a secret. */
function describe({ code, message }: YAMLError): string {
  const own = messages[code];
  if (own !== undefined) {
    return own;
  }
  if (message.startsWith('Missing closing')) {
    return 'is not YAML: a quoted string has no end';
  }
  if (message.startsWith('Implicit map keys need')) {
    return noKey;
  }
  if (message === 'Unexpected scalar at node end') {
    return 'stands behind a value that has ended: quote the whole, with the other kind of quotes where it holds some';
  }
  if (message.startsWith('Sequence item without')) {
    return 'stands between the items of a list: indent it as what it belongs to, or begin it with "- "';
  }
  const safe = message.split(/: |["'`]|\n/, 1)[0]?.trim() ?? '';
  return `is not YAML: ${safe === '' ? code : safe}`;
}

class YamlReader {
  readonly problems: TextProblem[] = [];
  readonly #yaml: Yaml;
  readonly #lines: LineIndex;

  constructor(yaml: Yaml, lines: LineIndex) {
    this.#yaml = yaml;
    this.#lines = lines;
  }

  read(document: Document.Parsed): unknown {
    return this.#value(document.contents, undefined, []);
  }

  #value(node: ParsedNode | null, parent: object | undefined, path: readonly PropertyKey[]): unknown {
    const { isAlias, isMap, isSeq } = this.#yaml;
    if (node === null) {
      return null;
    }
    if (isAlias(node) || node.anchor !== undefined) {
      const message = isAlias(node) ? unsupportedAlias : 'anchors and aliases are not supported: write the value out';
      this.#report({ path, message, position: this.#position(node) });
      return undefined;
    }
    // The parser also knows tags of YAML 1.1, such as !!binary and !!set.
    if (node.tag !== undefined && !plainTags.has(node.tag)) {
      this.#report({ path, message: unsupportedTag, position: this.#position(node) });
      return undefined;
    }
    if (isMap(node)) {
      const object: Record<string, unknown> = Object.create(null);
      const origin = remember(object, parent, this.#position(node));
      this.#readMap(node.items, object, origin, path);
      return Object.freeze(object);
    }
    if (isSeq(node)) {
      const list: unknown[] = [];
      const origin = remember(list, parent, this.#position(node));
      for (const item of node.items) {
        const index = list.length;
        list.push(this.#value(item, list, [...path, index]));
        const position = this.#position(item);
        origin.places.set(index, { key: position, value: position, text: writtenText(item) });
      }
      return Object.freeze(list);
    }
    if (typeof node.value === 'number' && !Number.isFinite(node.value)) {
      const message = 'is not a finite number: quote it if it is a string';
      this.#report({ path, message, position: this.#position(node) });
      return undefined;
    }
    return node.value;
  }

  #readMap(
    items: readonly { readonly key: ParsedNode; readonly value: ParsedNode | null }[],
    object: Record<string, unknown>,
    origin: Origin,
    path: readonly PropertyKey[],
  ): void {
    const seen = new Set<string>();
    if (items.length > textLimits.keys) {
      this.#report({ path, message: `has more than ${textLimits.keys} keys`, position: origin.start });
      return;
    }
    for (const { key: node, value } of items) {
      const position = this.#position(node);
      const key = this.#key(node);
      const below = [...path, key.text];
      const problem = key.problem ?? (seen.has(key.text) ? 'is given twice: keep one' : undefined);
      if (problem !== undefined) {
        this.#report({ path: below, message: problem, position, atKey: true });
        continue;
      }
      seen.add(key.text);
      object[key.text] = this.#value(value, object, below);
      const valuePosition = value === null ? position : this.#position(value);
      origin.places.set(key.text, { key: position, value: valuePosition, text: writtenText(value) });
    }
  }

  #key(node: ParsedNode): { readonly text: string; readonly problem?: string } {
    if (!this.#yaml.isScalar(node)) {
      const alias = this.#yaml.isAlias(node);
      return { text: '?', problem: alias ? 'aliases are not supported: write the key out' : 'a key must be a string' };
    }
    const text = String(node.source ?? node.value);
    if (node.anchor !== undefined) {
      return { text, problem: 'anchors and aliases are not supported: write the value out' };
    }
    if (typeof node.value !== 'string') {
      const problem =
        text === '' ? 'a key is missing in front of the ":"' : `the key must be a string: quote it, as in "${text}"`;
      return { text, problem };
    }
    if (node.value === '<<' && node.type === 'PLAIN') {
      return { text: '<<', problem: 'merge keys are not supported: write the keys out' };
    }
    if (forbiddenKeys.has(node.value)) {
      return { text: node.value, problem: `the key "${node.value}" is not allowed: choose another name` };
    }
    return { text: node.value };
  }

  #position(node: ParsedNode) {
    return this.#lines.position(node.range[0]);
  }

  #report(problem: TextProblem): void {
    if (this.problems.length < textLimits.problems) {
      this.problems.push(problem);
    }
  }
}

function writtenText(node: ParsedNode | null): string | undefined {
  const plain = node !== null && 'value' in node && typeof node.value !== 'string';
  return plain ? node.source?.slice(0, 40) : undefined;
}
