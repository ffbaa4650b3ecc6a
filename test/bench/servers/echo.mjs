// An MCP server that costs as little as it can, so that a measurement shows the other side: newline-delimited JSON-RPC by
// hand, all answers of one chunk in one write.
//
//   echo { text }        answers with the same text
//   prepare { bytes }    makes a text of so many bytes, and answers with an empty one
//   text { bytes }       answers with the text that was prepared
//
// With the argument "modern" it speaks revision 2026-07-28 alone.
import { Buffer } from 'node:buffer';

const modern = process.argv[2] === 'modern';

// With the properties, because some clients drop arguments that no schema names.
const properties = { text: { type: 'string' }, bytes: { type: 'number' } };
const tools = ['echo', 'prepare', 'text'].map((name) => ({ name, inputSchema: { type: 'object', properties } }));
const texts = new Map();
let parts = [];
let answers = '';

process.stdin.on('data', (chunk) => {
  let start = 0;
  for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
    parts.push(chunk.subarray(start, end));
    receive(JSON.parse(Buffer.concat(parts).toString()));
    parts = [];
    start = end + 1;
  }
  parts.push(chunk.subarray(start));
  flush();
});

function receive({ id, method, params }) {
  if (id === undefined) {
    return;
  }
  switch (method) {
    case 'server/discover':
      answer(
        id,
        modern ? { resultType: 'complete', supportedVersions: ['2026-07-28'], capabilities: { tools: {} } } : {},
      );
      break;
    case 'initialize':
      answer(id, {
        protocolVersion: params.protocolVersion,
        capabilities: { tools: {} },
        serverInfo: { name: 'echo', version: '1' },
      });
      break;
    case 'tools/list':
      answer(id, { tools });
      break;
    case 'tools/call':
      call(id, params.name, params.arguments);
      break;
    default:
      answer(id, {});
  }
}

function call(id, tool, { text, bytes }) {
  if (tool === 'text') {
    answers += `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":`;
    flush();
    process.stdout.write(texts.get(bytes));
    answers += '}\n';
    return;
  }
  if (tool === 'prepare') {
    texts.set(bytes, Buffer.from(JSON.stringify(content('x'.repeat(bytes)))));
  }
  answer(id, content(text ?? ''));
}

function content(text) {
  return { ...(modern && { resultType: 'complete' }), content: [{ type: 'text', text }] };
}

function answer(id, result) {
  answers += `${JSON.stringify({ jsonrpc: '2.0', id, result })}\n`;
}

function flush() {
  if (answers !== '') {
    process.stdout.write(answers);
    answers = '';
  }
}
