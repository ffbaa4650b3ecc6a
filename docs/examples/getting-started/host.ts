import { createServer } from 'node:http';
import { createGateway, createNodeSessions, loadCatalog } from 'open-mcp-gateway';

const gateway = createGateway(await loadCatalog('servers.yaml'));
const sessions = createNodeSessions((transport, caller) => gateway.serve(transport, { caller }));
const server = createServer((request, response) => sessions.handle(request, response));
server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => console.log('listening', server.address()));

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    server.close();
    await sessions.close();
    await gateway.close();
    server.closeAllConnections();
  });
}
