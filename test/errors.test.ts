import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { errorNumbers, GatewayError } from '../src/errors.js';
import { ServerError } from '../src/instance/server-error.js';

const page = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8');

/** Code and number of each section of the page. */
const documented = page
  .split(/^## /m)
  .slice(1)
  .map((section) => {
    const code = section.slice(0, section.indexOf('\n')).trim();
    return { code, number: Number(/^Number (\d+)\./m.exec(section)?.[1]), section };
  });

describe('docs/errors.md', () => {
  test('has one heading for each code, with its number, and no other', () => {
    expect(documented.map(({ code, number }) => [code, number])).toEqual(Object.entries(errorNumbers));
  });

  test.each(documented)('says for $code what was delivered and what to do', ({ section }) => {
    expect(section).toMatch(/^Delivered: \S/m);
    expect(section).toMatch(/^What to do: \S/m);
  });
});

describe('errorNumbers', () => {
  const numbers = Object.values<number>(errorNumbers);

  test('gives each code a number of its own', () => {
    expect(new Set(numbers).size).toBe(numbers.length);
  });

  test('stays outside the range that JSON-RPC and MCP reserve', () => {
    expect(numbers.filter((number) => number >= -32_768 && number <= -32_000)).toEqual([]);
  });
});

describe('GatewayError', () => {
  test('names the server first and keeps the cause', () => {
    const cause = new Error('no such file');
    const error = new GatewayError('START_FAILED', 'the command is missing', { server: 'github', cause });
    expect(error.message).toBe('"github": the command is missing');
    expect(error.cause).toBe(cause);
    expect(error.name).toBe('GatewayError');
  });

  test('shows only what it has when it is printed', () => {
    const error = new GatewayError('START_FAILED', 'no', { server: 'github', delivered: false });
    expect({ ...error }).toEqual({ name: 'GatewayError', code: 'START_FAILED', server: 'github', delivered: false });
    expect(inspect(error)).not.toContain('undefined');
  });

  test('has no cause of its own making', () => {
    expect('cause' in new GatewayError('START_FAILED', 'no')).toBe(false);
  });

  test.each([[new Error('x')], [{ code: 'START_FAILED' }], ['START_FAILED'], [undefined], [null]])(
    'is() refuses %o',
    (value) => {
      expect(GatewayError.is(value)).toBe(false);
    },
  );

  test('is() accepts its own', () => {
    expect(GatewayError.is(new GatewayError('GATEWAY_CLOSED', 'closed'))).toBe(true);
  });
});

test('a ServerError says whose answer it is, and says nothing twice of one of ours', () => {
  const theirs = new ServerError('a', 'tools/call', { code: -32000, message: 'no' });
  expect(theirs.message).toBe('"a": tools/call was answered with error -32000: no');
  const message = '"a": tools/call got no answer, outcome unknown: the server ended';
  const ours = new ServerError('a', 'tools/call', {
    code: 1201,
    message,
    data: { code: 'SERVER_EXITED', server: 'a' },
  });
  expect(ours.message).toBe(message);
});
