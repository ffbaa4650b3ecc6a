/** An agent of the OpenAI Agents SDK whose tools are those of every server of a catalog. */
// #region agent
import { Agent, type Model, run } from '@openai/agents';
import { createGateway, loadCatalog } from 'open-mcp-gateway';
import { GatewayServer } from './gateway-server.ts';

export async function ask(model: string | Model, prompt: string, catalog: string | URL): Promise<string> {
  await using gateway = createGateway(await loadCatalog(catalog));
  const server = new GatewayServer(gateway.connect());
  await server.connect();
  const agent = new Agent({ name: 'my-agent', model, mcpServers: [server] });
  const { finalOutput = '' } = await run(agent, prompt);
  await server.close();
  return finalOutput;
}
// #endregion agent
