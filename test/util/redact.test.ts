import { describe, expect, test, vi } from 'vitest';
import { looksLikeCredential } from '../../src/util/credentials.js';
import { redact } from '../../src/util/redact.js';

describe('redact', () => {
  test('finds a secret as it is, in JSON and in a URL', () => {
    const secret = 'a "b"\\/ c';
    const secrets = new Map([[secret, '${S}']]);
    const text = `<${secret}> ${JSON.stringify({ secret })} ${encodeURIComponent(secret)}`;
    expect(redact(text, secrets)).toBe('<${S}> {"secret":"${S}"} ${S}');
  });

  test('finds a secret in every form that URLs have for it', () => {
    const secret = 'a$b &c "d"';
    const query = new URLSearchParams({ secret });
    const text = `${new URL(`https://h.example/${secret}?${secret}`).href} ${query}`;
    expect(redact(text, new Map([[secret, '${S}']]))).toBe('https://h.example/${S}?${S} secret=${S}');
  });

  test.each([
    'a{b}|c^d`e[f]-12345',
    "it's \\a/../b/./c-12345",
    'Key%41-long?of#12345',
    'Key\tof\n12345\n',
    ' Key|of|12345 ',
  ])('finds a secret as a parser of URLs writes it: %j', (secret) => {
    const { pathname, search } = new URL(`https://h.example/path/${secret}`);
    const secrets = new Map([[secret, '${S}']]);
    const query = new URL(`https://h.example?key=${secret}&b=1`).search;
    const shown = redact(`<${pathname}> <${pathname}${search}> <${query}>`, secrets);
    expect(shown).toMatch(/^<\/path\/\$\{S\}> <\/path\/\$\{S\}> <\?key=(%20)?\$\{S\}(%20)?(&b=1|)>$/);
    expect(redact(`<${decodeURIComponent(pathname)}>`, secrets)).toMatch(/^<\/path\/ ?\$\{S\}>$/);
  });

  test('finds a secret without the blanks around it, and with one for each row of them', () => {
    const secrets = new Map([['key of\n\tmine\n', '${S}']]);
    expect(redact('<key of\n\tmine> <key of mine>', secrets)).toBe('<${S}> <${S}>');
    expect(redact('<pass>', new Map([['pass\n', '${S}']]))).toBe('<${S}>');
  });

  test('finds a secret in JSON that stands in JSON', () => {
    const secret = 'a"b\\c\n';
    const text = JSON.stringify({ text: JSON.stringify({ secret }) });
    expect(redact(text, new Map([[secret, '${S}']]))).toBe('{"text":"{\\"secret\\":\\"${S}\\"}"}');
  });

  test('finds a secret in JSON that is ASCII alone, and in base64', () => {
    const secret = 'Känärie-"漢字"';
    const base64 = Buffer.from(secret).toString('base64');
    const text = `"K\\u00e4n\\u00e4rie-\\"\\u6f22\\u5b57\\"" ${base64}`;
    expect(redact(text, new Map([[secret, '${S}']]))).toBe(`"\${S}" \${S}${base64.endsWith('=') ? '=' : ''}`);
  });

  test('leaves alone what is too short without the blanks around it, or in a URL', () => {
    const secrets = new Map(['    ', 'a   ', '/../', 'abc?defgh', '\t\n\t\n'].map((secret) => [secret, '${S}']));
    expect(redact('abc, a b', secrets)).toBe('abc, a b');
  });

  test.each([
    ['of one line', 'x'.repeat(1_000_000)],
    ['that URLs and JSON write otherwise', '"ä '.repeat(20_000)],
    ['of many lines', Array.from({ length: 5_000 }, (_, index) => `${index}`.padStart(64, 'x')).join('\n')],
  ])('finds a secret that is longer than a pattern can be: %s', (_, secret) => {
    const secrets = new Map([[secret, '${S}']]);
    const text = `<${secret}> ${encodeURIComponent(secret)} ${JSON.stringify({ secret })} ${secret.slice(0, 60)}`;
    expect(redact(text, secrets)).toBe(`<\${S}> \${S} {"secret":"\${S}"} ${secret.slice(0, 60)}`);
  });

  test('names a secret by its own name, though it is a form of another one', () => {
    const secrets = new Map([
      ['pass word\n', '${A}'],
      ['pass word', '${B}'],
      ['pass%20word', '${C}'],
    ]);
    expect(redact('<pass word> <pass%20word> <pass+word>', secrets)).toBe('<${B}> <${C}> <${A}>');
  });

  test('looks on where one that begins alike does not stand', () => {
    const begin = 'b'.repeat(32);
    const secrets = new Map([
      [`${begin}-abcd`, '${A}'],
      [`bb${begin}-efgh`, '${B}'],
      ['', '${C}'],
    ]);
    expect(redact(`b${begin}-abcd bb${begin}-efgh ${begin}-efg`, secrets)).toBe(`b\${A} \${B} ${begin}-efg`);
  });

  test('takes the longest of several that fit, and looks once', () => {
    const secrets = new Map([
      ['abcd', '${A}'],
      ['abcdefgh', '${B}'],
      ['${B}', '${C}'],
    ]);
    expect(redact('abcdefgh abcd', secrets)).toBe('${B} ${A}');
  });

  test('takes no character for a pattern', () => {
    expect(redact('a.c* aXc*', new Map([['a.c*', '${A}']]))).toBe('${A} aXc*');
    expect(redact('x\uD800y', new Map([['x\uD800y', '${A}']]))).toBe('${A}');
    expect(redact('$& (', new Map([['(', '$&']]))).toBe('$& $&');
  });

  test('finds the lines of a key', () => {
    const key = '-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----\n';
    const secrets = new Map([[key, '${KEY}']]);
    expect(redact('line AQEFAASCBKcwggSjAgEAAoIB of it', secrets)).toBe('line ${KEY} of it');
    expect(redact('-----BEGIN KEY-----', secrets)).toBe('-----BEGIN KEY-----');
  });

  test('compares no place of a text with each of many secrets', () => {
    const values = Array.from({ length: 100 }, (_, index) => `value-${index}.`);
    const secrets = new Map(values.map((value) => [value, '-']));
    using compare = vi.spyOn(String.prototype, 'startsWith');
    const shown = redact(values.join(' '), secrets);
    const { length } = compare.mock.calls;
    expect(shown).toBe(values.map(() => '-').join(' '));
    expect(length).toBeLessThan(values.length);
  });

  test('writes each form once where a secret has no blanks to lose', () => {
    using write = vi.spyOn(globalThis, 'encodeURIComponent');
    expect(redact('<pass+word>', new Map([['pass word', '${A}']]))).toBe('<${A}>');
    expect(write).toHaveBeenCalledOnce();
  });

  test('sees a secret that was added later', () => {
    const secrets = new Map([['first', '${A}']]);
    expect(redact('first second', secrets)).toBe('${A} second');
    secrets.set('second', '${B}');
    expect(redact('first second', secrets)).toBe('${A} ${B}');
    expect(redact('first', new Map())).toBe('first');
  });
});

test.each([
  ['PGPASSWORD', true],
  ['API_KEY', true],
  ['apiKey', true],
  ['X-Api-Key', true],
  ['Authorization', true],
  ['GITHUB_TOKEN', true],
  ['client_secret', true],
  ['Cookie', true],
  ['GH_PAT', true],
  ['OPENAI_KEY', true],
  ['DB_PWD', true],
  ['AWS_SECRET_ACCESS_KEY', true],
  ['PATH', false],
  ['PORT', false],
  ['AUTHOR', false],
  ['KEYBOARD', false],
  ['X-Tenant-ID', false],
  ['key', false],
  ['COMPASS', false],
])('%s looks like a credential: %s', (key, expected) => {
  expect(looksLikeCredential(key)).toBe(expected);
});
