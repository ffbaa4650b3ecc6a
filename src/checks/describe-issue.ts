import type { BaseIssue } from 'valibot';
import { nearest } from '../util/suggest.js';

/** Does this issue come from Valibot, of whichever copy? */
export function isValibotIssue(issue: unknown): issue is BaseIssue<unknown> {
  return typeof issue === 'object' && issue !== null && 'kind' in issue && 'received' in issue && 'expected' in issue;
}

/**
 * Says what is wrong without showing the value, which Valibot's own messages do. Undefined for an issue whose schema
 * has a message of its own.
 */
export function describeIssue(
  issue: BaseIssue<unknown>,
  written: string | undefined,
  isSecret: boolean,
): string | undefined {
  if (issue.expected === 'never') {
    return 'is not a known key';
  }
  if (!issue.message.endsWith(`eceived ${issue.received}`)) {
    return undefined;
  }
  const { input, expected } = issue;
  if (input === undefined && issue.kind === 'schema') {
    return 'is required: add it';
  }
  if (expected === 'string' && isUnquoted(input)) {
    return isSecret ? 'must be a string: quote it' : `must be a string: quote it, as in "${written ?? String(input)}"`;
  }
  const choices =
    expected === null ? [] : [...expected.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map((match) => match[1] ?? '');
  if (issue.kind === 'schema' && choices.length > 0) {
    // One long list of choices is enough: nobody needs the input repeated, which may be a secret.
    const near = typeof input === 'string' ? nearest(input, choices) : undefined;
    const hint = near === undefined ? '' : `; did you mean "${near}"?`;
    return `must be ${choices.length > 1 ? 'one of ' : ''}${choices.map((choice) => `"${choice}"`).join(', ')}${hint}`;
  }
  if (issue.kind === 'schema') {
    return `must be ${nameOf(expected ?? 'something else')}, not ${kindOf(input)}`;
  }
  const label = issue.message.slice('Invalid '.length, issue.message.indexOf(':'));
  if (expected === null) {
    return `is not a valid ${label}`;
  }
  return `${label === 'value' || label === 'type' ? '' : `has the wrong ${label}: `}must be ${expected}`;
}

/** Something that YAML takes for a number or boolean because it has no quotes. */
export function isUnquoted(value: unknown): value is number | bigint | boolean {
  return typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean';
}

const names: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  boolean: 'true or false',
  Array: 'a list',
  Object: 'an object',
  Function: 'a function',
};

function nameOf(expected: string): string {
  return Object.hasOwn(names, expected) ? (names[expected] ?? expected) : expected;
}

/** In the words of a catalog: a list, an object, a string. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) {
    return value === null ? 'empty' : 'undefined';
  }
  if (Array.isArray(value)) {
    return 'a list';
  }
  if (typeof value !== 'object') {
    return `a ${typeof value}`;
  }
  const { name } = value.constructor ?? {};
  if (name === '') {
    return 'one such as process.env: spread it';
  }
  return typeof name !== 'string' || name === 'Object' ? 'an object' : `an object of class ${name}`;
}
