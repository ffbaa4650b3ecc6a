/**
 * A host on `node:http`: every server of a catalog as one, at http://127.0.0.1:<port>/mcp.
 *
 *     node node-http-v1.ts catalog.yaml 3000
 *
 * With the variable TOKENS, as in '{"<SHA-256 of a token>": "ada"}', only who has one of the tokens may connect. Without
 * it everybody on this machine may.
 */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { createGateway, createNodeSessions, loadCatalog } from 'open-mcp-gateway';

const [catalog = 'catalog.yaml', port = '3000'] = process.argv.slice(2);
const principals: Record<string, string> | undefined = process.env.TOKENS && JSON.parse(process.env.TOKENS);

/** Who has the token of an Authorization header. Put in its place whatever knows your users. */
function authenticate(authorization = '') {
  const token = authorization.replace(/^Bearer /, '');
  const principal = principals?.[createHash('sha256').update(token).digest('hex')];
  return principal === undefined ? undefined : { principal };
}

// #region sessions
const gateway = createGateway(await loadCatalog(catalog));
const sessions = createNodeSessions(
  (settings) => new StreamableHTTPServerTransport(settings),
  (transport, caller) => gateway.serve(transport, { caller }),
  {
    authenticate: principals && (({ headers }) => authenticate(headers.authorization)),
    onError: console.error,
  },
);
// #endregion sessions

// #region server
// How long the head of a request may take is a matter of the server; the sessions look after its body.
const limits = { headersTimeout: 5_000, connectionsCheckingInterval: 1_000 };
const server = createServer(limits, (request, response) => {
  if (request.url === '/mcp') {
    return sessions.handle(request, response);
  }
  response.writeHead(404).end();
});
server.listen(Number(port), '127.0.0.1', () => console.log('listening', server.address()));
// #endregion server

// #region close
/** Lets open requests end, then ends every session and every server. */
async function close() {
  server.close();
  await sessions.close();
  await gateway.close();
  server.closeAllConnections();
}

process.once('SIGTERM', close);
process.once('SIGINT', close);
// #endregion close
