import { describe, expect, test } from 'vitest';
import { aliasUri, type ResourceOrigin, ResourceOwners } from '../../src/endpoint/resource-owners.js';

const create = () => new ResourceOwners((id) => id === 'one' || id === 'two');
const nobody = (origin: ResourceOrigin) => expect(origin).toBeUndefined();

test('a list that is asked for to find an owner takes nothing from the server of which it was shown', () => {
  const owners = create();
  owners.list([['two', [{ uri: 'a:1' }]]], nobody);
  owners.listTemplates([['two', [{ uriTemplate: 'b:{n}' }]]], nobody);
  const later = [
    ['one', [{ uri: 'a:1' }, { uri: 'a:new' }]],
    ['two', []],
  ] as const;
  const templates = [
    ['one', [{ uriTemplate: 'b:{n}' }, { uriTemplate: 'b:new/{n}' }]],
    ['two', []],
  ] as const;
  const find = (...uris: string[]) => uris.map((uri) => owners.find(uri)?.server);
  owners.list(later, () => {}, false);
  owners.listTemplates(templates, () => {}, false);
  expect(find('a:1', 'a:new', 'b:7', 'b:new/7')).toEqual(['two', 'one', 'two', 'one']);
  // What was only found is not shown.
  owners.list([], nobody, false);
  owners.listTemplates([], nobody, false);
  expect(find('a:1', 'a:new', 'b:7')).toEqual(['two', undefined, 'two']);
  owners.list(later, nobody);
  owners.listTemplates(templates, nobody);
  expect(find('a:1', 'b:7')).toEqual(['one', 'one']);
});

test('what reads as an alias of ours, as of a gateway behind this one, shows under one of its own server', () => {
  const owners = create();
  const own = [aliasUri('two', 'a:1'), 'mcp-gateway://two/b:{n}', aliasUri('elsewhere', 'a:1')] as const;
  const [listed] = owners.list([['one', [{ uri: own[0] }, { uri: own[2] }]]], () => {});
  const [templates] = owners.listTemplates([['one', [{ uriTemplate: own[1] }]]], () => {});
  expect(listed).toEqual([{ uri: aliasUri('one', own[0]) }, { uri: own[2] }]);
  expect(templates).toEqual([{ uriTemplate: `mcp-gateway://one/${own[1]}` }]);
  const shown = [String(listed?.[0]?.uri), 'mcp-gateway://one/mcp-gateway://two/b:7', own[2], own[0]];
  expect(shown.map((uri) => owners.find(uri))).toEqual([
    { server: 'one', uri: own[0] },
    { server: 'one', uri: 'mcp-gateway://two/b:7' },
    { server: 'one', uri: own[2] },
    { server: 'two', uri: 'a:1' },
  ]);
});

test('of a flood of URIs in a result the last are remembered, in no time', () => {
  const owners = create();
  const content = Array.from({ length: 1_000_000 }, (_, index) => ({ type: 'resource_link', uri: `a:${index}` }));
  const before = process.cpuUsage().user;
  owners.see('one', { content });
  // Minutes where the oldest is looked for anew each time.
  expect(process.cpuUsage().user - before).toBeLessThan(3_000_000);
  expect(owners.find('a:989999')).toBeUndefined();
  expect(owners.find('a:990000')).toEqual({ server: 'one', uri: 'a:990000' });
});

describe('list', () => {
  test('a server whose list did not come keeps what it had, and no more than its own', () => {
    const owners = create();
    owners.list(
      [
        ['one', [{ uri: 'a:1' }, { uri: 'a:both' }]],
        ['two', [{ uri: 'a:2' }, { uri: 'a:both' }]],
      ],
      () => {},
    );
    const listed = owners.list(
      [
        ['one', undefined],
        ['two', [{ uri: 'a:3' }, { uri: 'a:both' }]],
      ],
      () => {},
    );
    expect(listed.flat()).toEqual([{ uri: 'a:3' }, { uri: 'mcp-gateway://two/a%3Aboth' }]);
    const found = ['a:1', 'a:both', 'a:2', 'a:3'].map((uri) => owners.find(uri)?.server);
    expect(found).toEqual(['one', 'one', undefined, 'two']);
  });

  test('what was there before is looked through once, however many servers send no list', () => {
    const owners = create();
    const ids = Array.from({ length: 4_000 }, (_, index) => `s${index}`);
    const items = Array.from({ length: 200_000 }, (_, index) => ({ uri: `a:${index}` }));
    owners.list([['one', items]], nobody);
    const before = process.cpuUsage().user;
    owners.list(
      ['one', ...ids].map((id) => [id, undefined]),
      nobody,
    );
    // Three seconds or more where it is looked through for each.
    expect(process.cpuUsage().user - before).toBeLessThan(1_500_000);
    expect(owners.find('a:199999')?.server).toBe('one');
  });

  test('what a server had before goes to one before it that lists it now', () => {
    const owners = create();
    owners.list([['two', [{ uri: 'a:1' }]]], nobody);
    owners.list(
      [
        ['one', [{ uri: 'a:1' }]],
        ['two', undefined],
      ],
      nobody,
    );
    expect(owners.find('a:1')).toEqual({ server: 'one', uri: 'a:1' });
  });

  test('the first in the order keeps a URI, the others show it under an alias that leads to them', () => {
    const owners = create();
    const conflicts: ResourceOrigin[] = [];
    const own = { uri: 'file:///a', name: 'of one' };
    const listed = owners.list(
      [
        ['one', [own, { uri: 'file:///a', name: 'twice' }, { name: 'without' }, { uri: 7 }]],
        ['two', [{ uri: 'file:///a', name: 'of two' }, { uri: 'file:///b' }]],
      ],
      (origin) => conflicts.push(origin),
    );
    const alias = 'mcp-gateway://two/file%3A%2F%2F%2Fa';
    expect(listed.flat()).toEqual([
      own,
      { uri: 'file:///a', name: 'twice' },
      { uri: alias, name: 'of two' },
      { uri: 'file:///b' },
    ]);
    expect(conflicts).toEqual([{ server: 'two', uri: 'file:///a' }]);
    expect(owners.find('file:///a')).toEqual({ server: 'one', uri: 'file:///a' });
    expect(owners.find(alias)).toEqual({ server: 'two', uri: 'file:///a' });
    expect(owners.formOf('one', 'file:///a')).toBe('file:///a');
    expect(owners.formOf('two', 'file:///a')).toBe(alias);
    expect(owners.formOf('two', 'file:///unknown')).toBe('file:///unknown');
  });

  test('a later list forgets the one before', () => {
    const owners = create();
    owners.list([['one', [{ uri: 'a:1' }]]], nobody);
    owners.list([['two', [{ uri: 'a:2' }]]], nobody);
    expect(owners.find('a:1')).toBeUndefined();
    expect(owners.find('a:2')).toEqual({ server: 'two', uri: 'a:2' });
  });
});

describe('listTemplates', () => {
  test('no template takes long, whatever URI it is held against', () => {
    const owners = create();
    const many = 'a'.repeat(100_000);
    owners.listTemplates([['one', [{ uriTemplate: `x:{a}${many}b${many}{c}` }, { uriTemplate: 'x:{a}' }]]], nobody);
    const before = process.cpuUsage().user;
    expect(owners.find(`x:${many.repeat(4)}`)?.server).toBe('one');
    // Five seconds or more where each place in the URI is tried.
    expect(process.cpuUsage().user - before).toBeLessThan(2_000_000);
  });

  test('the longest text before the first brace decides', () => {
    const owners = create();
    owners.listTemplates(
      [
        ['one', [{ uriTemplate: 'db://{table}' }, { uriTemplate: 'plain://x' }, { uriTemplate: 1 }]],
        ['two', [{ uriTemplate: 'db://users/{id}' }, { uriTemplate: 'db:{rest}' }]],
      ],
      nobody,
    );
    expect(owners.find('db://orders')).toEqual({ server: 'one', uri: 'db://orders' });
    expect(owners.find('db://users/7')).toEqual({ server: 'two', uri: 'db://users/7' });
    expect(owners.find('db:other')).toEqual({ server: 'two', uri: 'db:other' });
    expect(owners.find('plain://x')).toEqual({ server: 'one', uri: 'plain://x' });
    expect(owners.find('plain://y')).toBeUndefined();
    // As completions name them.
    expect(owners.find('db://{table}')).toEqual({ server: 'one', uri: 'db://{table}' });
    expect(owners.find('other://x')).toBeUndefined();
  });

  test('whatever comes first: of two with the same text the first one stays', () => {
    const owners = create();
    owners.listTemplates(
      [
        ['one', [{ uriTemplate: 'a://{x}' }]],
        ['two', [{ uriTemplate: 'a://{y}' }]],
      ],
      nobody,
    );
    expect(owners.find('a://1')?.server).toBe('one');
  });

  test.each([
    ['a://o/r/issues/1', 'two'],
    ['a://o/r/contents', 'one'],
    ['a://o/r/contents/src/a.ts', 'one'],
    // Nobody's: then the beginning decides, as servers may expand their templates in ways of their own.
    ['a://o', 'one'],
    ['b://x.txt', 'one'],
    ['b://logs/x.log', 'two'],
    ['b://logs/x.txt', 'one'],
    ['c://aa', 'two'],
    ['c://a', 'one'],
    ['d://1', 'one'],
    // It may come of both, and one says more.
    ['d://1/sub/2', 'two'],
    ['e://1/a/2/a/3', 'two'],
    ['e://1/a/2', 'one'],
    // Without an expression it is one URI alone.
    ['f://x', 'one'],
    ['f://xy', 'two'],
  ])('of two that begin in the same way, the one that %s can come of', (uri, server) => {
    const owners = create();
    const toTemplate = (uriTemplate: string) => ({ uriTemplate });
    owners.listTemplates(
      [
        ['one', ['a://{o}/{r}/contents{/path*}', 'b://{+x}', 'c://{x}', 'd://{x}', 'e://{x}', 'f://x'].map(toTemplate)],
        [
          'two',
          [
            'a://{o}/{r}/issues/{n}',
            'b://logs/{x}.log',
            'c://a{x}a',
            'd://{x}/sub/{y}',
            'e://{x}/a/{y}/a/{z}',
            'f://{x}',
          ].map(toTemplate),
        ],
      ],
      nobody,
    );
    expect(owners.find(uri)?.server).toBe(server);
  });

  test('a later list forgets the one before', () => {
    const owners = create();
    owners.listTemplates([['one', [{ uriTemplate: 'a:{x}' }]]], nobody);
    owners.listTemplates([['two', [{ uriTemplate: 'b:{x}' }]]], nobody);
    expect(owners.find('a:1')).toBeUndefined();
    expect(owners.find('b:1')?.server).toBe('two');
  });

  test('a server whose list did not come keeps what it had', () => {
    const owners = create();
    const given = (uriTemplate: string) => [{ uriTemplate }];
    owners.listTemplates(
      [
        ['one', given('a://one/{x}')],
        ['two', given('a://two/{x}')],
      ],
      nobody,
    );
    owners.listTemplates(
      [
        ['one', undefined],
        ['two', given('a://new/{x}')],
      ],
      nobody,
    );
    const found = ['a://one/1', 'a://two/1', 'a://new/1'].map((uri) => owners.find(uri)?.server);
    expect(found).toEqual(['one', undefined, 'two']);
  });

  test('one that begins with a brace says nothing of a URI', () => {
    const owners = create();
    owners.listTemplates([['one', [{ uriTemplate: '{+any}' }]]], nobody);
    expect(owners.find('x://y')).toBeUndefined();
    expect(owners.find('{+any}')?.server).toBe('one');
  });

  test('one that two servers list shows under an alias that keeps its braces, and leads to its server when filled in', () => {
    const owners = create();
    const conflicts: ResourceOrigin[] = [];
    const template = { uriTemplate: 'a://{x}' };
    const listed = owners.listTemplates(
      [
        ['one', [template, { uriTemplate: 1 }, template]],
        ['two', [template]],
      ],
      (origin) => conflicts.push(origin),
    );
    expect(listed.flat()).toEqual([template, template, { uriTemplate: 'mcp-gateway://two/a://{x}' }]);
    expect(conflicts).toEqual([{ server: 'two', uri: 'a://{x}' }]);
    expect(owners.find('mcp-gateway://two/a://1%2F2')).toEqual({ server: 'two', uri: 'a://1%2F2' });
    expect(owners.find('a://1')?.server).toBe('one');
  });
});

describe('aliases', () => {
  test.each([
    ['of a server that there is none of', aliasUri('three', 'a:b')],
    ['without a URI', 'mcp-gateway://one'],
    ['that cannot be decoded', 'mcp-gateway://one/%E0%A4%A'],
    ['of another scheme', 'mcp-gatewayx://one/a%3Ab'],
    ['of another scheme that is as long', 'file:///abcdefone/x'],
    ['without a URI that only begins like a server', 'mcp-gateway://onex'],
  ])('one %s leads nowhere', (_, uri) => {
    expect(create().find(uri)).toBeUndefined();
  });

  test('go before a list: a server cannot take another one’s', () => {
    const owners = create();
    const alias = aliasUri('one', 'a:b');
    owners.list([['two', [{ uri: alias }]]], () => {});
    expect(owners.find(alias)).toEqual({ server: 'one', uri: 'a:b' });
  });
});

describe('see', () => {
  test('what a result holds leads back to its server, unless a list says otherwise', () => {
    const owners = create();
    owners.see('two', {
      content: [
        { type: 'resource_link', uri: 'link:1' },
        { type: 'resource', resource: { uri: 'embedded:1' } },
        { type: 'text', uri: 'text:1' },
        'nothing',
        null,
      ],
      messages: [
        { content: { type: 'resource', resource: { uri: 'prompt:1' } } },
        { content: [{ type: 'resource_link', uri: 'prompt:2' }] },
        null,
      ],
      contents: [{ uri: 'read:1' }, { uri: 3 }, null],
    });
    for (const uri of ['link:1', 'embedded:1', 'prompt:1', 'prompt:2', 'read:1']) {
      expect(owners.find(uri), uri).toEqual({ server: 'two', uri });
    }
    expect(owners.find('text:1')).toBeUndefined();
    owners.see('two', { content: 'text', messages: {}, contents: 1 });
    owners.list([['one', [{ uri: 'link:1' }]]], nobody);
    expect(owners.find('link:1')?.server).toBe('one');
    owners.listTemplates([['one', [{ uriTemplate: 'read:{x}' }]]], nobody);
    expect(owners.find('read:1')?.server).toBe('two');
    expect(owners.find('read:2')?.server).toBe('one');
  });
});

test('ten thousand that were seen are remembered, and the one that was seen longest ago is forgotten first', () => {
  const owners = create();
  const contents = Array.from({ length: 10_001 }, (_, index) => ({ uri: `x://${index}` }));
  owners.see('one', { contents });
  expect(owners.find('x://0')).toBeUndefined();
  expect(owners.find('x://1')).toEqual({ server: 'one', uri: 'x://1' });
});

test('a URI that was seen in a result and is the content itself is not remembered', () => {
  const owners = create();
  const [short, long] = [100, 10_000].map((length) => `data:image/png;base64,${'a'.repeat(length)}`) as [
    string,
    string,
  ];
  owners.see('two', { content: [short, long].map((uri) => ({ type: 'resource_link', name: 'it', uri })) });
  expect(owners.find(short)).toEqual({ server: 'two', uri: short });
  expect(owners.find(long)).toBeUndefined();
});
