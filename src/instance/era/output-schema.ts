import { isTooNested } from '../../transport/nesting.js';
import { type Fields, isFields } from '../../util/fields.js';

type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === 'string';
const isNumber: Check = (value) => typeof value === 'number';
const isFlag: Check = (value) => typeof value === 'boolean';
const isSchema: Check = (value) => isFlag(value) || isFields(value);

const types: ReadonlySet<unknown> = new Set(['array', 'boolean', 'integer', 'null', 'number', 'object', 'string']);

function all(names: string, check: Check): [string, Check][] {
  return names.split(' ').map((name) => [name, check]);
}

/** What the values of keywords have to be that hold schemas: one, several in an array, or several by name. */
const holders: ReadonlyMap<string, Check> = new Map([
  ...all('not if then else contains propertyNames additionalItems additionalProperties', isSchema),
  ...all('allOf anyOf oneOf', Array.isArray),
  ...all('properties dependencies', isFields),
  ['patternProperties', (value) => isFields(value) && Object.keys(value).every(isPattern)],
  ['items', (value) => isSchema(value) || Array.isArray(value)],
]);
const byName: ReadonlySet<string> = new Set(['properties', 'patternProperties', 'dependencies']);
const severalIn: ReadonlySet<string> = new Set(['items', 'allOf', 'anyOf', 'oneOf']);

/** The same of the others. */
const plain: ReadonlyMap<string, Check> = new Map([
  ...all('$id $ref format', isText),
  // Of an older draft, in which more means something else.
  ...all('id', () => false),
  ...all('minimum maximum exclusiveMinimum exclusiveMaximum multipleOf', isNumber),
  ...all('minLength maxLength minItems maxItems minProperties maxProperties', isNumber),
  ...all('uniqueItems nullable', isFlag),
  ...all('required', Array.isArray),
  ...all('enum', (value) => Array.isArray(value) && value.length > 0),
  ...all('type', (value) => (Array.isArray(value) ? value : [value]).every((type) => types.has(type))),
  ...all('pattern', isPattern),
]);

/**
 * Whether clients can make a check of results out of a schema. Those of SDK v1 do so for each tool of a list, with Ajv, and
 * refuse the whole list where they cannot: since a reference leads nowhere, or a pattern is none in JavaScript.
 */
export function isCompilable(root: Fields): boolean {
  // Ajv calls itself for each level.
  const names = isTooNested(root) ? undefined : namesIn(root);
  if (names === undefined) {
    return false;
  }
  const seen = new Set<unknown>();
  /** Whose references lead to an end. */
  const ending = new Set<unknown>();
  const waiting: unknown[] = [root];
  while (waiting.length > 0) {
    const schema = waiting.pop();
    if (schema === null) {
      return false;
    }
    if (!isFields(schema) || seen.has(schema)) {
      continue;
    }
    seen.add(schema);
    if (schema.nullable !== undefined && !isTypeGood(schema)) {
      return false;
    }
    for (const [keyword, value] of Object.entries(schema)) {
      const check = holders.get(keyword) ?? plain.get(keyword);
      if (check?.(value) === false) {
        return false;
      }
      for (const part of holders.has(keyword) ? partsOf(keyword, value as object) : []) {
        waiting.push(part);
      }
    }
    const chain = new Set<unknown>();
    for (let at: unknown = schema; isFields(at) && typeof at.$ref === 'string' && !ending.has(at); ) {
      // One reference after another that leads back to the first is none.
      const target = chain.has(at) ? undefined : follow(at, at.$ref, names);
      if (target === undefined) {
        return false;
      }
      chain.add(at);
      waiting.push(target);
      at = target;
    }
    for (const at of chain) {
      ending.add(at);
    }
  }
  return true;
}

/** Of OpenAPI: whether the type next to `nullable` is one, and not null all the same. */
function isTypeGood({ type, nullable }: Fields): boolean {
  const given = Array.isArray(type) ? type : [type];
  return given.length > 0 && given[0] !== undefined && (nullable === true || !given.includes('null'));
}

/** Properties of characters that JavaScript knows, as patterns have named them. */
const knownProperties = new Set<string>();

function isPattern(value: unknown): boolean {
  try {
    if (typeof value !== 'string') {
      return false;
    }
    // V8 lists all characters of a property wherever a pattern names it: a long one could take gigabytes.
    const short = value.replace(/\\(?:[pP](\{[^{}]*\})|[\s\S])/g, (whole: string, name: string | undefined) => {
      if (name === undefined) {
        return whole;
      }
      const property = `\\p${name}`;
      knownProperties.has(property) || (new RegExp(property, 'u') && knownProperties.add(property));
      return '\\d';
    });
    return new RegExp(short, 'u') !== undefined;
  } catch {
    return false;
  }
}

function partsOf(keyword: string, value: object): readonly unknown[] {
  return byName.has(keyword) ? Object.values(value) : [value].flat();
}

/** What references of a schema may lead to. */
interface Names {
  /** By its whole name: a document, or an anchor in one. */
  readonly named: ReadonlyMap<string, unknown>;
  /** The document of each part that is in another one than the root. */
  readonly documents: ReadonlyMap<unknown, string>;
  /** That of the root. */
  readonly document: string;
}

/** The name of what has none. */
const unnamed = 'http://unnamed.invalid/';
/** Of the documents outside Ajv knows this one alone. */
const schemaOfSchemas = 'http://json-schema.org/draft-07/schema#';
/** A name that is longer, or more of them, could cost far more than the schema takes: each is written with what it is in. */
const longestName = 1_000;
const mostNames = 1_000;

/** What the reference of a schema leads to; undefined where that is nothing. */
function follow(schema: Fields, reference: string, { named, documents, document }: Names): unknown {
  const [name, part] = resolve(reference, documents.get(schema) ?? document) ?? [];
  return part?.startsWith('/') ? step(named.get(`${name}#`), part) : named.get(`${name}#${part}`);
}

function step(from: unknown, way: string): unknown {
  try {
    return way.split('/').reduce<unknown>((at, name, index) => {
      const key = decodeURIComponent(name).replaceAll('~1', '/').replaceAll('~0', '~');
      return index === 0 ? at : Object.hasOwn(Object(at), key) ? (at as Fields)[key] : undefined;
    }, from);
  } catch {
    return undefined;
  }
}

/** The document that a reference names in another one, and which part of it. */
function resolve(reference: string, document: string): [document: string, part: string] | undefined {
  const end = `${reference}#`.indexOf('#');
  const name = reference.slice(0, end);
  const part = reference.slice(end + 1);
  const whole = name === '' ? document : URL.parse(name, document)?.href;
  return whole === undefined || whole.length > longestName ? undefined : [whole, part === '/' ? '' : part];
}

/** undefined where one name is given twice, or is none, or there are too many. */
function namesIn(root: Fields): Names | undefined {
  const [document] = (typeof root.$id === 'string' ? resolve(root.$id, unnamed) : [unnamed]) ?? [];
  if (document === undefined) {
    return undefined;
  }
  const named = new Map<string, unknown>([[schemaOfSchemas, true]]);
  named.set(`${document}#`, root);
  const documents = new Map<unknown, string>();
  const waiting: [at: Fields, document: string][] = [[root, document]];
  for (const [at, around] of waiting) {
    const given = at === root ? [] : namesOf(at);
    if (given === undefined) {
      return undefined;
    }
    let own = around;
    for (const reference of given) {
      const [name, part] = resolve(reference, own) ?? [];
      if (name === undefined || named.has(`${name}#${part}`) || named.size > mostNames) {
        return undefined;
      }
      named.set(`${name}#${part}`, at);
      own = name;
    }
    own !== document && documents.set(at, own);
    for (const [key, value] of Object.entries(at)) {
      for (const part of nestedIn(key, value)) {
        isFields(part) && waiting.push([part, own]);
      }
    }
  }
  return { named, documents, document };
}

/** undefined where an anchor is none. */
function namesOf({ $id, $anchor, $dynamicAnchor }: Fields): readonly string[] | undefined {
  const names = typeof $id === 'string' ? [$id] : [];
  for (const anchor of [$anchor, $dynamicAnchor]) {
    if (typeof anchor === 'string') {
      if (!/^[a-z_][-a-z0-9._]*$/i.test(anchor)) {
        return undefined;
      }
      names.push(`#${anchor}`);
    }
  }
  return names;
}

/** Where Ajv looks for names: also in what it does not know. */
function nestedIn(key: string, value: unknown): readonly unknown[] {
  if (Array.isArray(value)) {
    return severalIn.has(key) ? value : [];
  }
  if (!isFields(value) || key === 'default' || key === 'const') {
    return [];
  }
  return byName.has(key) || key === '$defs' || key === 'definitions' ? Object.values(value) : [value];
}
