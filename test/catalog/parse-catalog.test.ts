import { describe, expect, test } from 'vitest';
import { parseCatalog } from '../../src/catalog/parse-catalog.js';
import { invalid, problemsOf, resolve } from './runtimes.js';

const runtime = 'runtime: { type: local-process, command: x }';

describe('parseCatalog', () => {
  test('lists every problem of a file, each with its place and remedy', async () => {
    const text = `servers:
  - id: a
    idle_timeout: 300
    isolaton: shared
    restart: { maxx: 1, bacoff: 2s }
    env: { A: 5432, B: 1e3, C: yes, D: true, "": x, "a=b": y }
    ${runtime}
  - id: A
    tags: [1, ""]
    isolation: share
    runtime:
      type: docker
  - id: __proto__
    runtime: { type: local-process, command: }
  - 5
  - id: x_
    enabled: yes
    on_reload: x
    max_message: 16MB
`;
    const error = await invalid(() => parseCatalog(text));
    expect(error.message.split('\n')).toEqual([
      'the catalog is not valid, 21 problems:',
      'servers[0].isolaton (4:5): is not a known key; did you mean "isolation"?',
      'servers[0].restart.maxx (5:16): is not a known key; did you mean "max"?',
      'servers[0].restart.bacoff (5:25): is not a known key; did you mean "backoff"?',
      'servers[0].env.A (6:15): must be a string: quote it, as in "5432"',
      'servers[0].env.B (6:24): must be a string: quote it, as in "1e3"',
      'servers[0].env.D (6:40): must be a string: quote it, as in "true"',
      'servers[0].env[""] (6:46): the name of an environment variable is not empty and holds no "="',
      'servers[0].env["a=b"] (6:53): the name of an environment variable is not empty and holds no "="',
      'servers[0].idle_timeout (3:19): must be a duration with its unit, as in "300s" or "300ms", or 0',
      'servers[1].tags[0] (9:12): must be a string: quote it, as in "1"',
      'servers[1].tags[1] (9:15): must not be empty: a tag is a word',
      'servers[1].isolation (10:16): must be one of "caller", "shared", "principal", "request"; did you mean "shared"?',
      'servers[1].id (8:9): is taken by servers[0]: choose another id; case makes no difference',
      'servers[2].runtime.command (14:46): has no value: give it one, or leave the key out',
      'servers[2].id (13:9): must not hold "__", which separates server and tool in the merged names: "__proto__"',
      'servers[3] (15:5): must be an object with the keys id and runtime, not a number',
      'servers[4].id (16:9): must not end with "_": "x_"',
      'servers[4].runtime (16:5): is required: add it',
      'servers[4].enabled (17:14): must be true or false, not a string',
      'servers[4].on_reload (18:16): must be one of "drain", "keep", "now"',
      'servers[4].max_message (19:18): must be a size such as "512KiB" or "16MiB"',
    ]);
    expect(error.issues?.[0]).toEqual({
      path: 'servers[0].isolaton',
      message: 'is not a known key; did you mean "isolation"?',
      server: 'a',
      line: 4,
      column: 5,
    });
    expect(error.issues?.at(-1)).not.toHaveProperty('server');
  });

  test.each([
    ['an empty text', '', /^the catalog is empty/],
    ['only blanks', ' \n\t\r\n', /^the catalog is empty/],
    ['only a comment', '# nothing\n', /^the catalog is empty/],
    ['an empty document', '---\n...\n', /^the catalog is empty/],
    ['null', 'null', /^the catalog is empty/],
    ['a list', '- a', /object with the key "servers", not a list/],
    ['a string', 'servers', /object with the key "servers", not a string/],
    ['a wrong key', 'server: []', /^server \(1:1\): is not a known key; did you mean "servers"\?$/],
    ['no list', 'servers:\n', /^servers \(1:\d\): is missing: write "servers: \[\]"/],
    ['a map of servers', 'servers: { a: {} }', /^servers \(1:10\): must be a list of servers, not an object/],
    ['an open list', 'servers: [', /\(1:11\): is not YAML/],
    ['an open string', 'servers: "x', /\(1:12\): is not YAML: a quoted string has no end/],
    ['a second colon', 'a: b: c', /\(1:4\): has a ":" too many: quote the value/],
    ['a reserved character', 'a: @b', /\(1:4\): begins with a character .*: quote it/],
    ['a tab as indent', 'servers:\n\t- id: a', /\(2:1\): is indented by a tab: use spaces/],
    ['two documents', 'servers: []\n---\nservers: []', /is one document/],
    ['a directive', '%YAML 1.1\n---\nservers: []', /\(1:1\): directives are not supported/],
    ['an alias', 'servers: *a', /aliases are not supported/],
    ['a pattern without quotes', 'servers: [*]', /\(1:11\): aliases .* or quote a text that begins with "\*"/],
    [
      'a longer one',
      'servers: [*_read, "*"]',
      /^servers\[0\] \(1:11\): aliases .* or quote a text that begins with "\*"$/m,
    ],
    [
      'a colon without a blank',
      'servers:\n  - id:a\n    b: c',
      /\(2:5\): is no key with a value: write a blank after the ":"/,
    ],
    [
      'a colon without a blank in the last line of a map',
      'servers:\n  - id: a\n    b:c\n',
      /\(3:5\): is no key with a value: write a blank after the ":"/,
    ],
    ['a text in quotes that holds such quotes', "a: 'it's'", /\(1:8\): stands behind a value that has ended: quote/],
    ['a text behind one in quotes', 'a: "b" c', /\(1:8\): stands behind a value that has ended: quote the whole/],
    [
      'a key that is indented too little',
      'servers:\n  - id: a\n   b: c',
      /\(3:\d\): stands between the items of a list: indent it/,
    ],
    ['an anchor', 'servers: &a []', /^servers \(1:1\d\): anchors and aliases are not supported/],
    ['a merge key', 'servers: []\n<<: {}', /\(2:1\): merge keys are not supported/],
    ['an unknown tag', 'servers: !x []', /\(1:10\): has a tag that is not supported/],
    ['a binary tag', 'servers: !!binary aGk=', /has a tag that is not supported/],
    ['a key given twice', 'servers: []\nservers: []', /^servers \(2:1\): is given twice/],
    ['__proto__', 'servers: []\n__proto__: {}', /^__proto__ \(2:1\): the key "__proto__" is not allowed/],
    ['constructor', 'servers: []\nconstructor: {}', /^constructor \(2:1\): the key "constructor" is not allowed/],
    ['a number as key', 'servers: []\n1: x', /\(2:1\): the key must be a string: quote it, as in "1"/],
    ['an anchor at a key', '&a servers: []', /^servers \(1:\d\): anchors and aliases are not supported/],
    ['an alias as key', 'servers: []\nx: &a y\n*a : z', /\(3:1\): aliases are not supported: write the key out/],
    [
      'more than a thousand keys',
      `servers: []\n${Array.from({ length: 1_000 }, (_, n) => `k${n}: x\n`).join('')}`,
      /has more than 1000 keys/,
    ],
    [
      'a list where one of several words has to be',
      'servers: [{ id: a, runtime: { type: x }, isolation: [shared] }]',
      /isolation \(1:\d+\): must be one of "caller", .*"shared"[^;]*$/,
    ],
    ['a list as key', 'servers: []\n? [a]\n: x', /a key must be a string/],
    ['infinity', 'servers: .inf', /is not a finite number/],
    ['a wrong escape', 'servers: "\\q"', /has a wrong escape in double quotes/],
    ['NUL', 'servers: []\n#\0', /holds a NUL character in line 2/],
    ['a NUL that is escaped', 'servers: [{ id: a, tags: ["\\0"] }]', /tags\[0\] \(1:\d+\): holds a NUL character/],
  ])('refuses %s', async (_, text, problem) => {
    expect(await problemsOf(() => parseCatalog(text))).toContainEqual(expect.stringMatching(problem));
  });

  test.each([
    ['YAML', Array.from({ length: 150 }, (_, n) => `k${n}: x\nk${n}: x\n`).join('')],
    ['JSON', `{${Array.from({ length: 150 }, (_, n) => `"k${n}": 1, "k${n}": 1`).join(', ')}}`],
  ])('tells a hundred problems of a text in %s, and no more', async (_, text) => {
    const twice = (await problemsOf(() => parseCatalog(text))).filter((problem) => problem.includes('is given twice'));
    expect(twice).toHaveLength(100);
  });

  test.each([
    ['UTF-16 with a mark', Buffer.from('\uFEFFservers: []', 'utf16le'), /is UTF-16: save it as UTF-8/],
    ['UTF-16 without one', Buffer.from('servers: []', 'utf16le'), /is UTF-16: save it as UTF-8/],
    ['UTF-16, big end first', Buffer.from('servers: []', 'utf16le').swap16(), /is UTF-16: save it as UTF-8/],
    ['Latin-1', Buffer.from('servers: [] # é', 'latin1'), /is not UTF-8: save it as UTF-8/],
    ['a cut character', Buffer.from('servers: [] # é').subarray(0, -1), /is not UTF-8: save it as UTF-8/],
    ['more than 1 MiB', Buffer.alloc(1024 * 1024 + 1, 0x20), /1048577 bytes long: at most 1048576/],
  ])('refuses bytes that are %s', async (_, bytes, problem) => {
    expect(await problemsOf(() => parseCatalog(bytes))).toEqual([expect.stringMatching(problem)]);
  });

  test.each([
    [undefined, 'the catalog is undefined, not a text or its bytes (Uint8Array)'],
    [Promise.resolve('servers: []'), 'the catalog is a promise: await it'],
    [new ArrayBuffer(8), 'the catalog is an object of class ArrayBuffer, not a text or its bytes (Uint8Array)'],
    [
      { servers: [] },
      'the catalog is an object, not a text or its bytes (Uint8Array): createGateway takes it as it is',
    ],
  ])('refuses %o, which is no text', async (input, problem) => {
    expect(await problemsOf(() => parseCatalog(input as never))).toEqual([problem]);
  });

  test('measures a text in bytes of UTF-8', async () => {
    const text = `servers: [] # ${'é'.repeat(600_000)}`;
    expect(await problemsOf(() => parseCatalog(text))).toEqual([expect.stringContaining('1200014 bytes')]);
  });

  test('shows no piece of the text in an error of syntax', async () => {
    for (const text of [
      'a: "canary\\qcanary"',
      'a: canary: b: c',
      'a: @canary',
      'a: "x" canary',
      "a: 'canary",
      '{a: canary',
      'a: |canary\n b',
      'a: *canary',
      'a: !canary x',
      '? canary\n  - canary: [',
      'a: canary\ncanary',
    ]) {
      const { message } = await invalid(() => parseCatalog(text));
      expect(message, text).not.toContain('canary');
    }
    for (const text of [
      '{"a": canary}',
      '{"a": "canary}',
      '{"a" "canary"}',
      '{"a": "canary\\q"}',
      '["canary"]canary',
    ]) {
      const { message } = await invalid(() => parseCatalog(text, { format: 'json' }));
      expect(message, text).not.toContain('canary');
    }
  });

  test.each([
    ['CRLF', `servers:\r\n  - id: a\r\n    ${runtime}\r\n`],
    ['a UTF-8 mark', `\uFEFFservers:\n  - id: a\n    ${runtime}\n`],
    ['the marks of a document', `---\nservers:\n- id: a\n  ${runtime}\n...\n`],
    ['a plain tag', `servers: [{ id: !!str a, ${runtime} }]`],
    ['JSON', '{"servers": [{"id": "a", "runtime": {"type": "local-process", "command": "x"}}]}'],
    [
      'JSON that is indented by tabs',
      '{\n\t"$schema": "x",\n\t"servers": [{"id": "a", "runtime": {"type": "local-process", "command": "x"}}]\n}',
    ],
  ])('reads %s', async (_, text) => {
    for (const input of [text, Buffer.from(text)]) {
      expect(resolve(await parseCatalog(input)).map(({ id }) => id)).toEqual(['a']);
    }
  });

  test('reads an empty list of servers', async () => {
    expect((await parseCatalog('servers: []')).servers).toEqual([]);
  });

  test('reads words that YAML 1.1 took for booleans and dates as strings', async () => {
    const { servers } = await parseCatalog(
      `servers: [{ id: on, tags: [yes, no, 2020-01-01, 1_000, 12:30:00], ${runtime} }]`,
    );
    expect(servers[0]?.id).toBe('on');
    expect(servers[0]?.tags).toEqual(['yes', 'no', '2020-01-01', '1_000', '12:30:00']);
  });

  test('shows nothing but the data', async () => {
    const catalog = await parseCatalog(`servers: [{ id: a, ${runtime} }]`);
    expect(JSON.stringify(catalog)).toBe('{"servers":[{"id":"a","runtime":{"type":"local-process","command":"x"}}]}');
    expect(Reflect.ownKeys(catalog.servers[0] ?? {})).toEqual(['id', 'runtime']);
    expect(Object.isFrozen(catalog.servers[0]?.runtime)).toBe(true);
  });

  describe('variables', () => {
    const text = `servers: [{ id: a, idle_timeout: "\${IDLE}", isolation: "\${ISO}", tags: ["\${TAG:-x}"], ${runtime} }]`;

    test('are left alone without env', async () => {
      expect((await parseCatalog(text)).servers[0]).toMatchObject({ idle_timeout: '${IDLE}', isolation: '${ISO}' });
    });

    test('that are malformed are always reported', async () => {
      const problems = await problemsOf(() =>
        parseCatalog('servers: [{ id: a, tags: ["${", "${a b}"], runtime: { type: x } }]'),
      );
      expect(problems).toEqual([
        expect.stringMatching(/^servers\[0\]\.tags\[0\] \(1:27\): has a "\$\{" without/),
        expect.stringMatching(/^servers\[0\]\.tags\[1\] \(1:33\): has a "\$\{…\}" whose name/),
      ]);
    });

    test('are checked with env, and still not replaced', async () => {
      const error = await invalid(() => parseCatalog(text, { env: { IDLE: 'soon' } }));
      expect(error.issues).toEqual([
        expect.objectContaining({ path: 'servers[0].isolation', server: 'a', line: 1 }),
        expect.objectContaining({
          path: 'servers[0].idle_timeout',
          message: expect.stringContaining('must be a duration'),
        }),
      ]);
      expect(error.message).not.toContain('soon');
      const catalog = await parseCatalog(text, { env: { IDLE: '5m', ISO: 'shared' } });
      expect(catalog.servers[0]?.idle_timeout).toBe('${IDLE}');
    });
  });

  describe('JSON', () => {
    const parse = (text: string) => parseCatalog(text, { format: 'json' });

    test.each([
      ['a comma at the end', '{"servers": [],}', /\(1:16\): is not JSON: a key in double quotes/],
      ['a comment', '{"servers": []} // x', /\(1:17\): is not JSON: comments have no place/],
      ['single quotes', "{'servers': []}", /\(1:2\): is not JSON/],
      ['YAML', 'servers: []', /\(1:1\): is not JSON/],
      ['an early end', '{"servers": [', /\(1:14\): is not JSON: the document ends too early/],
      ['an open string', '{"servers', /\(1:2\): is not JSON: the string that begins here has no end/],
      ['a raw control character', '{"a\n": 1}', /\(1:4\): is not JSON: a control character/],
      ['a wrong escape', '{"\\x": 1}', /\(1:2\): is not JSON: .* wrong escape/],
      ['a wrong number', '{"servers": 01}', /\(1:14\): is not JSON/],
      ['a key given twice', '{"servers": [],\n "servers": []}', /^servers \(2:2\): is given twice/],
      ['__proto__', '{"servers": [], "__proto__": {}}', /^__proto__ \(1:17\): the key "__proto__" is not allowed/],
      [
        'a number in env',
        '{"servers": [{"id": "a", "env": {"A": 1e3}, "runtime": {"type": "x"}}]}',
        /env\.A \(1:39\): .* as in "1e3"/,
      ],
      ['null', 'null', /the catalog is empty/],
    ])('refuses %s', async (_, text, problem) => {
      expect(await problemsOf(() => parse(text))).toContainEqual(expect.stringMatching(problem));
    });

    test('is found out without a format only when it is strict', async () => {
      expect((await parseCatalog('{servers: []}')).servers).toEqual([]);
      expect(await problemsOf(() => parseCatalog('{servers: []}', { format: 'json' }))).toHaveLength(1);
    });
  });
});
