/** A server that is started with the token of the user for whom it is. */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import {
  type Caller,
  createGateway,
  LocalProcessRuntime,
  type LocalProcessSpec,
  RemoteSseRuntime,
  type RuntimeContext,
} from 'open-mcp-gateway';

const tokens = new Map([
  ['ada', 'token-of-ada'],
  ['bob', 'token-of-bob'],
]);

// #region runtime
function tokenOf(caller: Caller | undefined): string {
  const token = tokens.get(caller?.principal ?? '');
  if (token === undefined) throw new Error('a caller needs a principal that has a token');
  return token;
}

/** Starts each user's servers with that user's token. */
class UserProcessRuntime extends LocalProcessRuntime {
  override async open(spec: LocalProcessSpec, context: RuntimeContext) {
    const own = { API_TOKEN: tokenOf(context.caller) };
    context.conceal(own); // from errors, events and the status
    return super.open(spec, { ...context, env: { ...context.env, ...own } });
  }
}

const runtimes = [
  new UserProcessRuntime(),
  // check() and start() ask for nobody.
  new RemoteSseRuntime({ headers: (_, caller) => (caller ? { Authorization: `Bearer ${tokenOf(caller)}` } : {}) }),
];
// #endregion runtime

const args = ['node_modules/@modelcontextprotocol/server-everything/dist/index.js'];
const runtime = { type: 'local-process', command: 'node', args } as const;
await using gateway = createGateway({ servers: [{ id: 'everything', isolation: 'principal', runtime }] }, { runtimes });
for (const id of tokens.keys()) {
  const client = new Client({ name: 'agent', version: '1.0.0' });
  await client.connect(gateway.connect({ caller: { id, principal: id } }));
  const { content } = await client.callTool({ name: 'everything__get-env', arguments: {} });
  const [variables] = content as [{ text: string }];
  console.log(id, JSON.parse(variables.text).API_TOKEN);
}
