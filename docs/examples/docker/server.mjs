// An MCP server without any dependency, so that its image holds Node and this file alone. It counts the words of the files
// below /documents, and has nothing else to look at.
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const folder = '/documents';
const tools = [
  {
    name: 'count_words',
    description: `Counts the words of each file of ${folder}`,
    inputSchema: { type: 'object', properties: {} },
  },
];

function countWords() {
  const lines = readdirSync(folder).map((name) => {
    const words = readFileSync(`${folder}/${name}`, 'utf8').split(/\s+/).filter(Boolean);
    return `${name}: ${words.length}`;
  });
  return { content: [{ type: 'text', text: lines.join('\n') }] };
}

const answers = {
  initialize: ({ protocolVersion }) => ({
    protocolVersion,
    capabilities: { tools: {} },
    serverInfo: { name: 'words', version: '1.0.0' },
  }),
  ping: () => ({}),
  'tools/list': () => ({ tools }),
  'tools/call': countWords,
};

createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) return;
  const answer = Object.hasOwn(answers, method)
    ? { result: answers[method](params) }
    : { error: { code: -32601, message: 'Method not found' } };
  process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', id, ...answer })}\n`);
});
