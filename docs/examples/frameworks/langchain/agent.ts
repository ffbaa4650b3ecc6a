/** A LangChain agent whose tools are those of every server of a catalog. */
// #region agent
import type { BaseChatModel } from '@langchain/core/language_models/chat_models';
import { loadMcpTools } from '@langchain/mcp-adapters';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { createAgent, toolErrorMiddleware } from 'langchain';
import { createGateway, loadCatalog } from 'open-mcp-gateway';

export async function ask(model: BaseChatModel, prompt: string, catalog: string | URL): Promise<string> {
  await using gateway = createGateway(await loadCatalog(catalog));
  const client = new Client({ name: 'my-agent', version: '1.0.0' });
  await client.connect(gateway.connect());
  const agent = createAgent({
    model,
    tools: await loadMcpTools('gateway', client),
    // Without it a call that fails ends the agent; the model may have a way around.
    middleware: [toolErrorMiddleware({ onError: (error) => `The tool failed: ${error}` })],
  });
  const { messages } = await agent.invoke({ messages: [{ role: 'user', content: prompt }] });
  await client.close();
  return messages.at(-1)?.text ?? '';
}
// #endregion agent
