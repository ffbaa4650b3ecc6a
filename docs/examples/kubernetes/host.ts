/**
 * A host application for a Deployment: every server of a catalog as one, at http://<service>/mcp. Each replica has a gateway,
 * and thus Jobs, of its own.
 *
 * CATALOG is the file of the catalog, which may change at any time. TOKENS, as in '{"<SHA-256 of a token>": "ada"}', says who may connect, and HOSTS under
 * which names, separated by commas. WARM names servers to start ahead.
 */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { createGateway, createNodeSessions, loadCatalog, watchCatalog } from 'open-mcp-gateway';

const list = (text = '') => text.split(',').filter((name) => name !== '');
const principals: Record<string, string> = JSON.parse(process.env.TOKENS ?? '{}');

// #region watch
const file = process.env.CATALOG ?? 'catalog.yaml';
const log = (event: object) => console.log(JSON.stringify(event));

const gateway = createGateway(await loadCatalog(file), { onEvent: log });
const watcher = watchCatalog(file, gateway, {
  // JSON has no place for an error's message.
  onEvent: (event) => log(event.type === 'reload-failed' ? { ...event, error: event.error.message } : event),
});
// #endregion watch

const sessions = createNodeSessions(
  (settings) => new StreamableHTTPServerTransport(settings),
  (transport, caller) => gateway.serve(transport, { caller }),
  {
    hosts: list(process.env.HOSTS),
    authenticate({ headers }) {
      const token = (headers.authorization ?? '').replace(/^Bearer /, '');
      const principal = principals[createHash('sha256').update(token).digest('hex')];
      return principal === undefined ? undefined : { principal };
    },
    onError: console.error,
  },
);

let ready = false;
const server = createServer({ headersTimeout: 5_000 }, (request, response) => {
  if (request.url === '/mcp') return sessions.handle(request, response);
  response.writeHead(request.url !== '/ready' ? 404 : ready ? 200 : 503).end();
});
server.listen(8080);
await watcher.ready;
await Promise.all(list(process.env.WARM).map((id) => gateway.start(id)));
ready = true;

// Kubernetes sends SIGTERM: open requests get their end, then every Job is deleted.
process.once('SIGTERM', async () => {
  server.close();
  await watcher.close();
  await sessions.close();
  await gateway.close();
  server.closeAllConnections();
});
