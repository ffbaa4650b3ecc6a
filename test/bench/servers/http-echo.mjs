// An MCP server over Streamable HTTP that costs as little as it can, so that a measurement shows the other side. Answers
// with an event, or with JSON at /json. Tells its URL through IPC.
//
//   echo { text }        answers with the same text
import { Buffer } from 'node:buffer';
import { createServer } from 'node:http';

let sessions = 0;

const server = createServer((request, response) => {
  if (request.method !== 'POST') {
    // One stream for each session stays open, as with the SDK's own server.
    if (request.method === 'GET') response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    else response.writeHead(200).end();
    return;
  }
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const { id, method, params } = JSON.parse(Buffer.concat(parts).toString());
    if (id === undefined) {
      response.writeHead(202).end();
      return;
    }
    const answer = JSON.stringify({ jsonrpc: '2.0', id, result: resultOf(method, params) });
    if (method === 'initialize') {
      sessions += 1;
      response.setHeader('mcp-session-id', `session-${sessions}`);
    }
    if (request.url === '/json') {
      response.writeHead(200, { 'content-type': 'application/json' }).end(answer);
    } else {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
      response.end(`event: message\ndata: ${answer}\n\n`);
    }
  });
});

function resultOf(method, params) {
  switch (method) {
    case 'initialize':
      return {
        protocolVersion: params.protocolVersion,
        capabilities: { tools: {} },
        serverInfo: { name: 'echo', version: '1' },
      };
    case 'tools/call':
      return { content: [{ type: 'text', text: params.arguments.text }] };
    default:
      return {};
  }
}

server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => process.send(`http://127.0.0.1:${server.address().port}`));

process.once('disconnect', () => {
  server.close();
  server.closeAllConnections();
});
