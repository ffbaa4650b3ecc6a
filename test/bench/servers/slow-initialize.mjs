// Answers initialize 300 ms after it was asked. The start of Node itself comes on top.
process.stdin.once('data', (chunk) => {
  const { id, params } = JSON.parse(chunk.toString());
  const result = {
    protocolVersion: params.protocolVersion,
    capabilities: {},
    serverInfo: { name: 'slow', version: '1' },
  };
  setTimeout(() => process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', id, result })}\n`), 300);
});
