/**
 * A host on `node:http` that answers every revision of the protocol: every server of a catalog as one, at
 * http://127.0.0.1:<port>/mcp.
 *
 *     node fetch-node-http.ts catalog.yaml 3000
 *
 * With the variable TOKENS, as in '{"<SHA-256 of a token>": "ada"}', only who has one of the tokens may connect. Without
 * it everybody on this machine may, as one and the same caller.
 */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { createGateway, loadCatalog } from 'open-mcp-gateway';

const [catalog = 'catalog.yaml', port = '3000'] = process.argv.slice(2);
const principals: Record<string, string> | undefined = process.env.TOKENS && JSON.parse(process.env.TOKENS);

/** Who has the token of an Authorization header. Put in its place whatever knows your users. */
function authenticate({ headers }: Request) {
  const token = headers.get('authorization')?.replace(/^Bearer /, '') ?? '';
  const principal = principals?.[createHash('sha256').update(token).digest('hex')];
  return principals === undefined ? { id: 'somebody here' } : principal && { principal };
}

// #region fetch
const gateway = createGateway(await loadCatalog(catalog));
const listener = getRequestListener((request) => {
  const caller = authenticate(request);
  const challenge = { status: 401, headers: { 'www-authenticate': 'Bearer' } };
  return caller ? gateway.fetch(request, { caller }) : new Response(null, challenge);
});
const server = createServer({ headersTimeout: 5_000, connectionsCheckingInterval: 1_000 }, listener);
// #endregion fetch
server.listen(Number(port), '127.0.0.1', () => console.log('listening', server.address()));

/** Ends every stream and every server. */
async function close() {
  server.close();
  await gateway.close();
  server.closeAllConnections();
}

process.once('SIGTERM', close);
process.once('SIGINT', close);
