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
  ...all('properties patternProperties dependencies', isFields),
  ['items', (value) => isSchema(value) || Array.isArray(value)],
]);
const byName: ReadonlySet<string> = new Set(['properties', 'patternProperties', 'dependencies']);

/** The same of the others. */
const plain: ReadonlyMap<string, Check> = new Map([
  ...all('$id $ref format', isText),
  // Of an older draft, in which more means something else.
  ...all('id', () => false),
  ...all('minimum maximum exclusiveMinimum exclusiveMaximum multipleOf', isNumber),
  ...all('minLength maxLength minItems maxItems minProperties maxProperties', isNumber),
  ...all('uniqueItems', isFlag),
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
  let names: Names | undefined;
  const seen = new Set<unknown>();
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
    if (schema.nullable !== undefined && schema.type === undefined) {
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
      if (keyword === '$ref') {
        const target = follow(root, value as string);
        if (target === undefined) {
          names ??= namesIn(root);
          if (!isNamed(value as string, names)) {
            return false;
          }
        }
        waiting.push(target);
      }
    }
  }
  return true;
}

function isPattern(value: unknown): boolean {
  try {
    return isText(value) && new RegExp(value as string, 'u') !== undefined;
  } catch {
    return false;
  }
}

function partsOf(keyword: string, value: object): readonly unknown[] {
  return byName.has(keyword) ? Object.values(value) : [value].flat();
}

/** What a reference leads to that says the way from the root; undefined where that is nothing, or it says something else. */
function follow(root: Fields, reference: string): unknown {
  if (!/^#(\/|$)/.test(reference)) {
    return undefined;
  }
  try {
    const steps = reference.split('/').slice(1);
    return steps.reduce<unknown>((at, step) => {
      const name = decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~');
      return Object.hasOwn(Object(at), name) ? (at as Fields)[name] : undefined;
    }, root);
  } catch {
    return undefined;
  }
}

/** What references may lead to in a schema besides ways from its root. Where exactly they lead is not looked at. */
interface Names {
  readonly anchors: ReadonlySet<string>;
  /** It has the name of a document, or a part of it has. */
  readonly isDocument: boolean;
  /** A part has, from which ways may begin. */
  readonly hasDocument: boolean;
}

function isNamed(reference: string, { anchors, isDocument, hasDocument }: Names): boolean {
  if (reference.startsWith('#')) {
    return reference.startsWith('#/') ? hasDocument : anchors.has(reference.slice(1));
  }
  // Of those outside Ajv knows this one alone.
  return isDocument || /^http:\/\/json-schema\.org\/draft-07\/schema#?$/.test(reference);
}

function namesIn(root: Fields): Names {
  const anchors = new Set<string>();
  let isDocument = false;
  let hasDocument = false;
  const seen = new Set<unknown>();
  const waiting: unknown[] = [root];
  while (waiting.length > 0) {
    const at = waiting.pop();
    if (typeof at !== 'object' || at === null || seen.has(at)) {
      continue;
    }
    seen.add(at);
    for (const [key, value] of Object.entries(at)) {
      if (typeof value !== 'string') {
        waiting.push(value);
      } else if (key === '$anchor') {
        anchors.add(value);
      } else if (key === '$id') {
        isDocument = true;
        hasDocument ||= at !== root;
      }
    }
  }
  return { anchors, isDocument, hasDocument };
}
