// What any host in front of a server process must do at least: takes the body of a POST, changes the id in its text, writes
// it to the process as a line, and hands the line that comes back to the client. Understands nothing, checks nothing. The
// command of the process comes as the arguments. Tells its URL through IPC.
import { Buffer } from 'node:buffer';
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';

const [command, ...args] = process.argv.slice(2);
const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'] });
const waiting = new Map();
let lastId = 0;
let parts = [];

const server = createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
  if (request.method !== 'POST') {
    response.writeHead(405).end();
    return;
  }
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const body = Buffer.concat(chunks).toString();
    // The SDK's client writes the id last.
    const [whole, id] = /"id":(\d+)\}$/.exec(body.slice(-40)) ?? [];
    if (id === undefined) {
      response.writeHead(202).end();
      child.stdin.write(`${body}\n`);
      return;
    }
    lastId += 1;
    waiting.set(`${lastId}`, { id, response });
    child.stdin.write(`${body.slice(0, -whole.length)}"id":${lastId}}\n`);
  });
});

child.stdout.on('data', (chunk) => {
  let start = 0;
  for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
    parts.push(chunk.subarray(start, end));
    answer(Buffer.concat(parts).toString());
    parts = [];
    start = end + 1;
  }
  parts.push(chunk.subarray(start));
});

function answer(line) {
  const [head, own] = /^\{"jsonrpc":"2\.0","id":(\d+)/.exec(line.slice(0, 40));
  const { id, response } = waiting.get(own);
  waiting.delete(own);
  response.writeHead(200, { 'content-type': 'application/json', 'mcp-session-id': 'relay' });
  response.end(`{"jsonrpc":"2.0","id":${id}${line.slice(head.length)}`);
}

server.listen(0, '127.0.0.1', () => process.send(`http://127.0.0.1:${server.address().port}/`));

process.once('disconnect', () => {
  child.stdin.end();
  server.close();
  server.closeAllConnections();
});
