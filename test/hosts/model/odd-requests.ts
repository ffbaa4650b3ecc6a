import type { Chance } from '../../gateway/model/chance.js';
import { isReady } from './client-steps.js';
import { type Client, groupOf, users } from './clients.js';
import type { Other, World } from './world.js';

const json = 'application/json';

/** Sends what is wrong in one way: no server gets to know of it, and the status says what is wrong. */
export async function sendOdd(world: World, client: Client, chance: Chance): Promise<void> {
  await world.pause();
  const [what, other] = client.era === 'modern' ? oddOfModern(chance) : oddOfLegacy(world, client, chance);
  world.judge.count('odd');
  const message = world.call(client, 'all', 'now', `o${world.number()}`);
  const line = what === 'too large' ? world.line(client) : undefined;
  const exchange = world.send(client, `odd: ${what}`, [message], { ...other, ...(line && { line }) });
  if (line !== undefined) {
    // The host waits a while for the rest.
    line.isUsedUp = true;
    exchange.mayBeCut = true;
  }
  await world.pause();
}

function headers(status: number, changed: NonNullable<Other['headers']>): Other {
  return { headers: changed, statuses: [status] };
}

function body(status: number, text: string): Other {
  return { body: text, statuses: [status] };
}

const common: readonly (readonly [string, Other])[] = [
  ['no host of this machine', headers(403, { host: 'evil.example' })],
  ['a page of another site', headers(403, { origin: 'http://evil.example' })],
  ['nobody', headers(401, { authorization: undefined })],
  ['a stranger', headers(401, { authorization: 'mallory' })],
  ['no JSON type', headers(415, { 'content-type': 'text/plain' })],
  ['half of a message', body(400, '{"jsonrpc":"2.0","id":1,')],
  ['nothing', body(400, '')],
  ['no message', body(400, '{"foo":1}')],
  ['a number', body(400, '5')],
  ['null', body(400, 'null')],
  ['too large', headers(413, { 'content-length': '20000000' })],
];

function oddOfModern(chance: Chance): readonly [string, Other] {
  return chance.pick([
    ...common,
    ['no revision', headers(400, { 'mcp-protocol-version': undefined })],
    ['no such revision', headers(400, { 'mcp-protocol-version': '2030-01-01' })],
    ['no method', headers(400, { 'mcp-method': undefined })],
    ['another name', headers(400, { 'mcp-name': 'all__go' })],
    ['a batch', body(400, '[]')],
  ] as const) as readonly [string, Other];
}

function oddOfLegacy(world: World, client: Client, chance: Chance): readonly [string, Other] {
  const { host } = world;
  const other = chance.pick(world.clients.filter((each) => users[each.user] !== users[client.user] && isReady(each)));
  const stolen = (method: string): Other => ({
    method,
    headers: { 'mcp-session-id': other?.session, ...(method === 'GET' && { accept: 'text/event-stream' }) },
    statuses: [other?.session === undefined ? 400 : 404],
  });
  const open = client.exchanges
    .filter(({ end, status, statuses }) => end === undefined && status !== 400 && !statuses.includes(408))
    // Else it may have been answered: the client does not read, or there is another response before it.
    .filter(({ line }) => !line.isPaused && line.waiting === 1)
    .flatMap(({ sent }) => sent)
    .find(({ answers, isCancelled, at, isAnsweredByServer }) => !answers && !isCancelled && at && !isAnsweredByServer);
  const used = { jsonrpc: '2.0', id: open?.id, method: 'ping' };
  const initialize = { ...used, id: 'again', method: 'initialize', params: { protocolVersion: '2025-11-25' } };
  const many = Array.from({ length: 101 }, (_, index) => ({ ...used, id: `m${index}` }));
  return chance.pick<readonly [string, Other]>([
    ...common,
    ['events alone', headers(406, { accept: 'text/event-stream' })],
    ['JSON alone', headers(406, { accept: json })],
    ['no stream', { method: 'GET', ...headers(406, { accept: json }) }],
    ['another method', { method: chance.one(['PUT', 'PATCH', 'OPTIONS']), statuses: [405] }],
    ['no session', headers(400, { 'mcp-session-id': undefined })],
    ['no such session', headers(404, { 'mcp-session-id': 'guessed' })],
    ['a stream without a session', { method: 'GET', ...headers(400, { 'mcp-session-id': undefined }) }],
    ['the end of no session', { method: 'DELETE', ...headers(400, { 'mcp-session-id': undefined }) }],
    ['no such revision', headers(400, { 'mcp-protocol-version': '1999-01-01' })],
    [
      'a beginning without events',
      { ...body(406, JSON.stringify(initialize)), ...headers(406, { accept: json, 'mcp-session-id': undefined }) },
    ],
    ['too many', body(400, JSON.stringify(many))],
    ...(host.kind === 'node' ? ([['initialize again', body(400, JSON.stringify(initialize))]] as const) : []),
    ...(open && !host.isForeign && groupOf(client)
      ? ([['an id in use', body(400, JSON.stringify(used))]] as const)
      : []),
    ...(other ? (['POST', 'GET', 'DELETE'] as const).map((method) => ['theft', stolen(method)] as const) : []),
  ]) as readonly [string, Other];
}
