// The merged peer behind node:http: the command of its only server comes as the arguments. Tells its URL through IPC.
import { createServer } from 'node:http';

const [library, command, ...args] = process.argv.slice(2);
const { createGateway, createNodeSessions } = await import(library);

const gateway = createGateway({
  servers: [{ id: 'bench', max_message: '256MiB', runtime: { type: 'local-process', command, args } }],
});
const sessions = createNodeSessions((transport, caller) => gateway.serve(transport, { caller }));
// Connections rest while the other host is measured; one that is closed just then would fail a call.
const server = createServer({ keepAliveTimeout: 600_000 }, (request, response) => sessions.handle(request, response));
server.listen(0, '127.0.0.1', () => process.send(`http://127.0.0.1:${server.address().port}/`));

process.once('disconnect', async () => {
  await sessions.close({ graceMs: 0 });
  await gateway.close({ graceMs: 0 });
  server.close();
  server.closeAllConnections();
});
