import { isTooNested } from '../../transport/nesting.js';
import { type Fields, isFields } from '../../util/fields.js';

type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === 'string';
const isNumber: Check = (value) => typeof value === 'number';
const isFlag: Check = (value) => typeof value === 'boolean';
const isSchema: Check = (value) => isFlag(value) || isFields(value);
/** Ajv looks for what has this name in plain objects, in which some stand from the start. */
const isName: Check = (value) => typeof value === 'string' && !(value.replace(/#\/?$/, '') in {});

/** Of these Ajv nests the check of each part in that of the one before it, until the stack ends. */
const nesting: ReadonlySet<string> = new Set(['anyOf', 'oneOf', 'patternProperties']);
const mostNested = 500;

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

/** The same of the others. */
const plain: ReadonlyMap<string, Check> = new Map([
  ...all('$ref format', isText),
  ['$id', isName],
  // Of an older draft, in which more means something else; and Ajv's own, which few formats go with.
  ...all('id formatMinimum formatMaximum formatExclusiveMinimum formatExclusiveMaximum', () => false),
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
 *
 * False also for what few schemas have, and Ajv may refuse: parts with names of their own, and references to anything but a part
 * of the schema itself by the way to it.
 */
export function isCompilable(root: Fields): boolean {
  // Ajv calls itself for each level.
  if (isTooNested(root) || hasNamedPart(root)) {
    return false;
  }
  const seen = new Set<unknown>();
  const targets = new Map<unknown, unknown>();
  // What a reference leads to has a check of its own, or is nested as deeply once more. It comes after what stands in its place.
  const starts: unknown[] = [root];
  for (const start of starts) {
    const waiting: [schema: unknown, nested: number][] = [[start, 0]];
    for (const [schema, nested] of waiting) {
      if (schema === null || nested > mostNested) {
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
        for (const [index, part] of (holders.has(keyword) ? partsOf(keyword, value as object) : []).entries()) {
          waiting.push([part, nesting.has(keyword) ? nested + index + 1 : nested]);
        }
      }
      if (typeof schema.$ref === 'string') {
        const target = follow(root, schema.$ref);
        if (target === undefined) {
          return false;
        }
        targets.set(schema, target);
        starts.push(target);
      }
    }
  }
  return haveEnds(targets);
}

/** Whether a part has a name, such as a document of its own or an anchor: what references lead to then is another matter. */
function hasNamedPart(root: Fields): boolean {
  const waiting: unknown[] = Object.values(root);
  for (const at of waiting) {
    if (typeof at !== 'object' || at === null) {
      continue;
    }
    if (['$id', '$anchor', '$dynamicAnchor'].some((name) => typeof (at as Fields)[name] === 'string')) {
      return true;
    }
    for (const part of Object.values(at)) {
      waiting.push(part);
    }
  }
  return typeof root.$anchor === 'string' || typeof root.$dynamicAnchor === 'string';
}

/** Whether no reference leads through others back to itself. */
function haveEnds(targets: ReadonlyMap<unknown, unknown>): boolean {
  const ending = new Set<unknown>();
  for (const from of targets.keys()) {
    const passed = new Set<unknown>();
    for (let at = from; targets.has(at) && !ending.has(at); at = targets.get(at)) {
      if (passed.has(at)) {
        return false;
      }
      passed.add(at);
    }
    for (const at of passed) {
      ending.add(at);
    }
  }
  return true;
}

/** What a reference leads to; undefined where that is nothing, or it says no way from the root. */
function follow(root: Fields, reference: string): unknown {
  if (!/^#(?:\/|$)/.test(reference)) {
    return undefined;
  }
  try {
    return reference
      .split('/')
      .slice(1)
      .reduce<unknown>((at, step) => {
        const name = decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~');
        return Object.hasOwn(Object(at), name) ? (at as Fields)[name] : undefined;
      }, root);
  } catch {
    return undefined;
  }
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
