const { InProcessRuntime } = require('open-mcp-gateway');
const { createReferenceServer, createTestGateway, runtimeContract } = require('open-mcp-gateway/testing');

runtimeContract(test, {
  create: () => new InProcessRuntime(),
  working: (args) => ({ server: ({ env }) => createReferenceServer(args, env) }),
  broken: () => ({
    server: () => {
      throw new Error('broken');
    },
  }),
});

test('a test gateway', async () => {
  const t = createTestGateway({ a: { tools: [{ name: 'x', call: () => 'y' }] } });
  const line = t.connect('a');
  await line.start();
  await line.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'x' } });
  expect(await line.received({ id: 1 })).toMatchObject({ result: { content: [{ text: 'y' }] } });
  await t[Symbol.asyncDispose]();
});
