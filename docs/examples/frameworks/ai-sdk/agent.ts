/** An agent of the Vercel AI SDK whose tools are those of every server of a catalog. */
// #region agent
import { createMCPClient } from '@ai-sdk/mcp';
import { generateText, isStepCount, type LanguageModel } from 'ai';
import { createGateway, loadCatalog } from 'open-mcp-gateway';

export async function ask(model: LanguageModel, prompt: string, catalog: string | URL): Promise<string> {
  await using gateway = createGateway(await loadCatalog(catalog));
  const client = await createMCPClient({ transport: gateway.connect() });
  const { text } = await generateText({ model, prompt, tools: await client.tools(), stopWhen: isStepCount(20) });
  await client.close();
  return text;
}
// #endregion agent
