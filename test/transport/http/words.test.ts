import { describe, expect, test } from 'vitest';
import { runCallback } from '../../../src/transport/callback.js';
import { EraHeaders } from '../../../src/transport/http/era.js';
import { decodeHeader, encodeHeader } from '../../../src/transport/http/mirrored-arguments.js';
import { describeNetworkError } from '../../../src/transport/http/network.js';
import { excerpt, mediaType } from '../../../src/transport/http/status.js';
import { parseErrorBody, parseMessages } from '../../../src/transport/http/wire.js';
import { withoutEnvelope } from '../../../src/transport/modern.js';

/** An error as Node and undici make them. */
function failed(code: string | undefined, more: object = {}, message = 'it failed'): Error {
  return Object.assign(new Error(message), code !== undefined && { code }, more);
}

describe('what went wrong on the way to a server', () => {
  test.each<[string, unknown, string]>([
    ['a name', failed('ENOTFOUND'), 'the name there.example is not known; check the host in url, and DNS (ENOTFOUND)'],
    [
      'a cause',
      new Error('fetch failed', { cause: failed('ECONNREFUSED') }),
      'nobody listens at there.example:8443; does the server run, is the port right? (ECONNREFUSED)',
    ],
    [
      'a process without descriptors',
      failed('EMFILE', { address: '10.0.0.1', port: 8443 }, 'connect EMFILE - Local (undefined:undefined)'),
      'this process has too many open files; raise the limit (ulimit -n) (EMFILE)',
    ],
    [
      'a machine without ports',
      failed('EADDRNOTAVAIL', { address: '10.0.0.1', port: 8443 }, 'connect EADDRNOTAVAIL - Local (0.0.0.0:0)'),
      'this machine has no free port, or no address, for a connection to there.example:8443 (EADDRNOTAVAIL)',
    ],
    [
      'a proxy with an address of version 6',
      failed('ECONNREFUSED', { address: '::1', port: 3128 }),
      'the proxy cannot be reached: nobody listens at [::1]:3128; does the server run, is the port right? (ECONNREFUSED)',
    ],
    [
      'a proxy with several addresses',
      Object.assign(new AggregateError([failed(undefined, { address: '10.0.0.1', port: 3128 })]), {
        code: 'ECONNREFUSED',
      }),
      'the proxy cannot be reached: nobody listens at 10.0.0.1:3128; does the server run, is the port right? (ECONNREFUSED)',
    ],
    [
      'a proxy whose name is not known',
      failed('ENOTFOUND', { hostname: 'proxy.example' }),
      'the proxy cannot be reached: the name proxy.example is not known; check the host in url, and DNS (ENOTFOUND)',
    ],
    [
      'a proxy whose name is none',
      failed('ENOTFOUND', { hostname: 'pro xy' }),
      'the name there.example is not known; check the host in url, and DNS (ENOTFOUND)',
    ],
    [
      'no HTTP',
      failed('HPE_INVALID_CONSTANT'),
      'what answers at there.example:8443 does not speak HTTP (HPE_INVALID_CONSTANT)',
    ],
    [
      'no HTTP, without a code',
      failed(undefined, { name: 'HTTPParserError' }),
      'what answers at there.example:8443 does not speak HTTP',
    ],
    [
      'a client certificate that is asked for',
      failed('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'),
      'TLS: there.example:8443 asks for a client certificate; give one in the options tls.cert and tls.key (ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED)',
    ],
    [
      'a handshake that is refused',
      failed('ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE'),
      'TLS: there.example:8443 refused the handshake; does it ask for a client certificate? (ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE)',
    ],
    ['other trouble with TLS', failed('ERR_SSL_NO_CIPHERS'), 'TLS with there.example:8443 failed (ERR_SSL_NO_CIPHERS)'],
    [
      'a proxy that wants credentials',
      failed(undefined, {}, 'Proxy response (407) !== 200 when HTTP Tunneling'),
      'the proxy asks for credentials (407): put them into the URL of the proxy',
    ],
    [
      'a proxy that refuses',
      failed(undefined, {}, 'Proxy response (403) !== 200 when HTTP Tunneling'),
      'the proxy refused the connection (403)',
    ],
    ['a code that nobody knows', failed('EWHAT', {}, 'what now'), 'what now (EWHAT)'],
    ['what is no error', 'out of order', 'out of order'],
  ])('%s', (_what, error, words) => {
    expect(describeNetworkError(error, new URL('https://there.example:8443/mcp?token=s3cret'))).toBe(words);
  });

  test('a connection that is cut before anything came may be one that wants TLS, whatever stands around the error', () => {
    const cut = failed('UND_ERR_SOCKET', { socket: { bytesRead: 0 } });
    for (const error of [cut, new Error('fetch failed', { cause: cut })]) {
      expect(describeNetworkError(error, new URL('http://there.example/mcp'))).toBe(
        'there.example cut the connection before it answered anything; is it https instead of http? (UND_ERR_SOCKET)',
      );
    }
  });
});

describe('what a server wrote that is no answer', () => {
  test.each<[string, string | undefined, string]>([
    ['', undefined, ''],
    ['not today', 'text/plain', 'it says: not today'],
    ['{"error":{"message":"not today"}}', 'application/json', 'it says: not today'],
    ['{"error":"not today"}', 'application/json', 'it says: not today'],
    ['{"message":"not today"}', 'application/json', 'it says: not today'],
    ['{"error":{"message":7}}', 'application/json', 'it says: {"error":{"message":7}}'],
    ['{"detail":7}', 'application/json', 'it says: {"detail":7}'],
    ['null', 'application/json', 'it says: null'],
    ['<html><title>Not today</title>', undefined, 'it sent an HTML page "Not today"'],
    ['<html><p>Not today', undefined, 'it sent an HTML page'],
    ['', 'Text/HTML; charset=utf-8', 'it sent an HTML page'],
  ])('%s of type %s', (body, type, words) => {
    expect(excerpt(body, type)).toBe(words);
  });

  test.each([
    [undefined, ''],
    ['', ''],
    [' Text/HTML ; charset=utf-8', 'text/html'],
  ])('its type: %j', (header, type) => {
    expect(mediaType(header)).toBe(type);
  });
});

describe('the messages in a text', () => {
  const ping = { jsonrpc: '2.0', id: 1, method: 'ping' };

  test.each<[string, unknown]>([
    [JSON.stringify(ping), { messages: [ping], clean: true }],
    [`\ufeff${JSON.stringify(ping)}`, { messages: [ping], clean: true }],
    [JSON.stringify([ping, 7]), { messages: [ping], clean: false }],
    ['{', undefined],
  ])('%s', (text, found) => {
    expect(parseMessages(text)).toEqual(found);
  });

  test.each<[unknown, unknown]>([
    [
      { jsonrpc: '2.0', id: 1, error: { code: 1, message: 'no' } },
      { id: 1, error: { code: 1, message: 'no' } },
    ],
    [
      { jsonrpc: '2.0', error: { code: 1, message: 'no' } },
      { id: undefined, error: { code: 1, message: 'no' } },
    ],
    [{ jsonrpc: '2.0', id: 1, error: { code: '1', message: 'no' } }, undefined],
    [{ jsonrpc: '2.0', id: 1, error: { code: 1 } }, undefined],
    [{ jsonrpc: '2.0', id: 1, error: null }, undefined],
    [{ id: 1, error: { code: 1, message: 'no' } }, undefined],
    [null, undefined],
  ])('an error of JSON-RPC: %j', (body, found) => {
    expect(parseErrorBody(JSON.stringify(body))).toEqual(found);
  });
});

describe('headers of the stateless era', () => {
  const call = (name: string) =>
    ({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: { region: 'eu' } } }) as const;
  const list = (tools: unknown) => ({ jsonrpc: '2.0', id: 1, result: { tools } }) as never;
  const tool = (name: unknown) => ({
    name,
    inputSchema: { properties: { region: { type: 'string', 'x-mcp-header': 'Region' } } },
  });

  test('an answer has the revision alone', () => {
    expect(new EraHeaders().write({ jsonrpc: '2.0', id: 1, result: {} }, '2026-07-28')).toEqual({
      'mcp-protocol-version': '2026-07-28',
    });
  });

  test('lists that are none, and tools without a name, ask for nothing', () => {
    const headers = new EraHeaders();
    for (const tools of [undefined, 'none', [null, 7, tool(7)], [tool('go')]]) headers.learn(list(tools));
    expect(headers.write(call('go'), '2026-07-28')).toMatchObject({ 'mcp-name': 'go', 'mcp-param-region': 'eu' });
    expect(headers.write(call('7'), '2026-07-28')).not.toHaveProperty('mcp-param-region');
  });

  const asks = (type: unknown, header: unknown = 'Region') => ({ type, 'x-mcp-header': header });

  test.each<[string, unknown, string | undefined]>([
    ['a string', { properties: { region: asks('string') } }, undefined],
    ['a property of a property', { properties: { at: { properties: { floor: asks('integer') } } } }, undefined],
    ['a property of that name', { properties: { 'x-mcp-header': { type: 'string' } } }, undefined],
    ['a value of that name', { properties: { at: { default: asks('string', '') } } }, undefined],
    ['no schema', undefined, undefined],
    ['no name', { properties: { region: asks('string', '') } }, 'is no name of a header'],
    ['no text', { properties: { region: asks('string', 7) } }, 'is no name of a header'],
    ['what has no text', { properties: { region: asks('string', { toString: 'Region' }) } }, 'is no name of a header'],
    ['a line break', { properties: { region: asks('string', 'a\r\nb') } }, 'is no name of a header'],
    ['a number', { properties: { region: asks('number') } }, 'is not of a string'],
    ['several types', { properties: { region: asks(['string', 'null']) } }, 'is not of a string'],
    ['the root', asks('string'), 'reached through properties alone'],
    ['an item', { properties: { all: { items: asks('string') } } }, 'reached through properties alone'],
    ['an alternative', { anyOf: [{ properties: { region: asks('string') } }] }, 'reached through properties alone'],
    ['a definition', { $defs: { region: asks('string') } }, 'reached through properties alone'],
    ['a name that is there twice', { properties: { a: asks('string'), b: asks('string', 'REGION') } }, 'twice'],
  ])('a tool that wants %s mirrored is in the list, or left out and told of', (_, inputSchema, problem) => {
    const listed = list([{ name: 'go', inputSchema }, { name: 'other' }]) as { result: { tools: object[] } };
    const problems = new EraHeaders().learn(listed as never);
    expect(listed.result.tools).toHaveLength(problem === undefined ? 2 : 1);
    expect(problems).toEqual(problem === undefined ? [] : [expect.stringMatching(`"go" is left out: .*${problem}`)]);
  });

  test('ten thousand tools are remembered, the last ones', () => {
    const headers = new EraHeaders();
    headers.learn(list(Array.from({ length: 10_001 }, (_, n) => tool(`t${n}`))));
    const mirrored = ['t0', 't1', 't10000'].map((name) => headers.write(call(name), '2026-07-28')['mcp-param-region']);
    expect(mirrored).toEqual([undefined, 'eu', 'eu']);
  });

  test.each<[string, string | undefined]>([
    ['plain', 'plain'],
    [encodeHeader('漢字 '), '漢字 '],
    ['a\tb', 'a\tb'],
    ['Zürich', undefined],
    ['a\u0001b', undefined],
    ['=?base64?not base64?=', undefined],
    [`=?base64?${Buffer.of(0xff, 0xfe).toString('base64')}?=`, undefined],
  ])('%s is read as it was meant', (header, value) => {
    expect(decodeHeader(header)).toBe(value);
  });

  test.each<[Record<string, unknown> | undefined, Record<string, unknown> | undefined]>([
    [undefined, undefined],
    [{ 'io.modelcontextprotocol/clientInfo': {} }, undefined],
    [{ 'io.modelcontextprotocol/clientInfo': {}, other: 1 }, { other: 1 }],
  ])('_meta %j without its envelope', (meta, rest) => {
    expect(withoutEnvelope(meta)).toEqual(rest);
  });
});

test('what a callback throws is reported as an error, whatever it is', () => {
  const errors: unknown[] = [];
  const transport = { onerror: (error: unknown) => void errors.push(error) };
  for (const thrown of [new RangeError('too far'), 'too far', Object.create(null)]) {
    runCallback(transport, () => {
      throw thrown;
    });
  }
  expect(errors).toEqual([new RangeError('too far'), new Error('too far'), new Error('[object Object]')]);
});
