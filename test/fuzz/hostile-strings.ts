import type { Chance } from './seed.js';

// What means something to shells, to the CLI of engines, in URLs, headers, JSON, YAML, paths, labels and terminals.
const fragments = [
  ...['--privileged', '-v', '--mount=type=bind', '/:/host', ':ro', 'docker.sock', '-', '--', '-e', 'A=1', '=', ','],
  ...[' ', '\t', '\n', '\r\n', '\0', '\x1b[2J', '\x7f', '\x9b', '\u2028', '\u202e', '\ufeff', '\ud800'],
  ...['"', "'", '`', '\\', '$(id)', '$(HOME)', '$$', '${HOME}', '$HOME', ';', '|', '&', '>', '<', '#', '!', '*', '~'],
  ...['%00', '%0d%0a', '%2e%2e%2f', '../', '..', '/', '//', '?', '&name=x', '@', ':', '[', ']', '{', '}', '{{.}}'],
  ...[
    'X-Evil: 1',
    'HTTP/1.1',
    '__proto__',
    'constructor',
    'null',
    'true',
    '0',
    'é',
    '漢',
    '👩',
    'a',
    'A',
    'x'.repeat(70),
  ],
];

export function makeHostile(chance: Chance): string {
  const parts = Array.from({ length: 1 + chance.below(4) }, () => chance.pick(fragments));
  return (chance() < 0.3 ? chance.pick(['a', '/a', 'a:', '/']) : '') + parts.join('');
}

/** What stands where `plain` stood must be `hostile`, and everything else must be as it was: undefined when that is so. */
export function findIntrusion(
  before: unknown,
  after: unknown,
  plain: string,
  hostile: string,
  at = '',
): string | undefined {
  if (typeof before === 'string' && before.includes(plain)) {
    const wanted = before.replace(plain, () => hostile);
    return after === wanted ? undefined : `${at} is ${JSON.stringify(after)}, not ${JSON.stringify(wanted)}`;
  }
  if (typeof before !== 'object' || before === null || typeof after !== 'object' || after === null) {
    return Object.is(before, after) ? undefined : `${at} is ${JSON.stringify(after)}, not ${JSON.stringify(before)}`;
  }
  const keys = Object.keys(before).map((key) => (key === plain ? hostile : key));
  if (Array.isArray(before) !== Array.isArray(after) || keys.join('\n') !== Object.keys(after).join('\n')) {
    return `${at} holds ${JSON.stringify(Object.keys(after))}, not ${JSON.stringify(keys)}`;
  }
  for (const [index, value] of Object.values(before).entries()) {
    const key = keys[index] as string;
    const found = findIntrusion(value, (after as Record<string, unknown>)[key], plain, hostile, `${at}/${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}
