// An MCP server without any dependency: one file for a process, a container, a Job and a Service. It tells where it runs.
// It speaks over stdin and stdout, or with PORT over Streamable HTTP, where each session counts its calls.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { hostname } from 'node:os';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';

const tools = [
  { name: 'where', description: 'Tells where the server runs', inputSchema: { type: 'object', properties: {} } },
];

/** One session: answers messages. */
function createSession() {
  let calls = 0;
  const answers = {
    initialize: ({ protocolVersion }) => ({
      protocolVersion,
      capabilities: { tools: {} },
      serverInfo: { name: 'where', version: '1.0.0' },
    }),
    ping: () => ({}),
    'tools/list': () => ({ tools }),
    'tools/call': () => {
      calls += 1;
      return {
        content: [{ type: 'text', text: `process ${process.pid} on ${hostname()}, call ${calls} of this session` }],
      };
    },
  };
  return ({ id, method, params }) =>
    Object.hasOwn(answers, method)
      ? { jsonrpc: '2.0', id, result: answers[method](params) }
      : { jsonrpc: '2.0', id, error: { code: -32601, message: 'Method not found' } };
}

function serveStdio() {
  const answer = createSession();
  createInterface({ input: process.stdin }).on('line', (line) => {
    const message = JSON.parse(line);
    if (message.id !== undefined) process.stdout.write(`${JSON.stringify(answer(message))}\n`);
  });
}

function serveHttp(port) {
  const sessions = new Map();
  const server = createServer(async (request, response) => {
    if (request.method === 'GET' && request.url === '/ready') return response.end('ready');
    const known = request.headers['mcp-session-id'];
    if (request.method === 'DELETE') {
      sessions.delete(known);
      return response.writeHead(200).end();
    }
    if (request.method !== 'POST') return response.writeHead(405).end();
    const message = JSON.parse(await text(request));
    const id = message.method === 'initialize' ? randomUUID() : known;
    if (message.method === 'initialize') sessions.set(id, createSession());
    const answer = sessions.get(id);
    if (answer === undefined) return response.writeHead(404).end();
    if (message.id === undefined) return response.writeHead(202).end();
    response.writeHead(200, { 'content-type': 'application/json', 'mcp-session-id': id });
    response.end(JSON.stringify(answer(message)));
  });
  server.listen(port);
  // A container's first process has to ask for this signal.
  process.once('SIGTERM', () => server.close(() => process.exit()).closeIdleConnections());
}

if (process.env.PORT === undefined) serveStdio();
else serveHttp(Number(process.env.PORT));
