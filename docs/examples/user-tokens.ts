/** A server that is started with the token of the user for whom it is. */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { createGateway, LocalProcessRuntime, type LocalProcessSpec, type RuntimeContext } from 'open-mcp-gateway';

// #region runtime
/** Starts each user's servers with that user's token. Not with `isolation: shared`: then there is no caller. */
class UserProcessRuntime extends LocalProcessRuntime {
  override open(spec: LocalProcessSpec, context: RuntimeContext) {
    const own = context.caller?.data as { API_TOKEN: string };
    context.conceal(own); // from errors, events and the status
    return super.open(spec, { ...context, env: { ...context.env, ...own } });
  }
}
// #endregion runtime

const args = ['node_modules/@modelcontextprotocol/server-everything/dist/index.js'];
await using gateway = createGateway(
  { servers: [{ id: 'everything', runtime: { type: 'local-process', command: 'node', args } }] },
  { runtimes: [new UserProcessRuntime()] },
);
for (const [id, token] of [
  ['ada', 'token-of-ada'],
  ['bob', 'token-of-bob'],
]) {
  const client = new Client({ name: 'agent', version: '1.0.0' });
  await client.connect(gateway.connect({ caller: { id, data: { API_TOKEN: token } } }));
  const { content } = await client.callTool({ name: 'everything__get-env', arguments: {} });
  const [variables] = content as [{ text: string }];
  console.log(id, JSON.parse(variables.text).API_TOKEN);
}
