/** A Mastra agent whose tools are those of every server of a catalog. */
// #region agent
import { Agent, type AgentConfig } from '@mastra/core/agent';
import { MCPClient } from '@mastra/mcp';
import { createGateway, loadCatalog } from 'open-mcp-gateway';
import { openLoopbackHost } from './loopback-host.ts';

export async function ask(model: AgentConfig['model'], prompt: string, catalog: string | URL): Promise<string> {
  await using gateway = createGateway(await loadCatalog(catalog));
  await using host = await openLoopbackHost(gateway);
  const client = new MCPClient({
    servers: { gateway: { url: host.url, requestInit: { headers: host.headers } } },
  });
  // By their toolset, the tools keep the names that they have in the gateway.
  const { gateway: tools = {} } = await client.listToolsets();
  const agent = new Agent({ id: 'my-agent', name: 'my-agent', instructions: 'You call tools.', model, tools });
  const { text } = await agent.generate(prompt, { maxSteps: 20 });
  await client.disconnect();
  return text;
}
// #endregion agent
