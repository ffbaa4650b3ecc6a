// Each library's own way to start servers, list their tools and call one. `servers`: names with { command, args }.
// All of them: open(servers) -> { tools: how many, call(server, tool, args), close() }.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';

const info = { name: 'bench', version: '1' };
const stderr = 'ignore';
const each = (servers, work) => Promise.all(Object.entries(servers).map(([name, command]) => work(name, command)));

/** Ours: one merged peer, and SDK v1's Client in front of it, as a host would use it. */
async function openMcpGateway(build) {
  const { createGateway } = await import(build);
  return async (servers) => {
    const gateway = createGateway({
      servers: Object.entries(servers).map(([id, command]) => ({ id, runtime: { type: 'local-process', ...command } })),
    });
    const client = new Client(info);
    await client.connect(gateway.connect());
    const { tools } = await client.listTools();
    return {
      tools: tools.length,
      call: (server, tool, args) => client.callTool({ name: `${server}__${tool}`, arguments: args }),
      close: async () => {
        await client.close();
        await gateway.close();
      },
    };
  };
}

/** What a host writes without a library: a client for each server. */
async function sdk() {
  return async (servers) => {
    const clients = new Map();
    const lists = await each(servers, async (name, command) => {
      const client = new Client(info);
      await client.connect(new StdioClientTransport({ ...command, stderr }));
      clients.set(name, client);
      return client.listTools();
    });
    return {
      tools: lists.flatMap(({ tools }) => tools).length,
      call: (server, tool, args) => clients.get(server).callTool({ name: tool, arguments: args }),
      close: () => Promise.all([...clients.values()].map((client) => client.close())),
    };
  };
}

async function mastra() {
  const { MCPClient } = await import('@mastra/mcp');
  return async (servers) => {
    const client = new MCPClient({ id: String(Math.random()), servers: withStderr(servers), timeout: 60_000 });
    const tools = await client.listTools();
    return {
      tools: Object.keys(tools).length,
      call: (server, tool, args) => tools[`${server}_${tool}`].execute(args, {}),
      close: () => client.disconnect(),
    };
  };
}

async function langchain() {
  const { MultiServerMCPClient } = await import('@langchain/mcp-adapters');
  return async (servers) => {
    const client = new MultiServerMCPClient({
      mcpServers: withStderr(servers),
      prefixToolNameWithServerName: true,
      additionalToolNamePrefix: '',
    });
    const tools = new Map((await client.getTools()).map((tool) => [tool.name, tool]));
    return {
      tools: tools.size,
      call: (server, tool, args) => tools.get(`${server}__${tool}`).invoke(args),
      close: () => client.close(),
    };
  };
}

async function aiSdk() {
  const { createMCPClient } = await import('@ai-sdk/mcp');
  const { Experimental_StdioMCPTransport: Stdio } = await import('@ai-sdk/mcp/mcp-stdio');
  return async (servers) => {
    const clients = [];
    const tools = new Map();
    await each(servers, async (name, command) => {
      const client = await createMCPClient({ transport: new Stdio({ ...command, stderr }) });
      clients.push(client);
      for (const [tool, value] of Object.entries(await client.tools())) {
        tools.set(`${name}__${tool}`, value);
      }
    });
    const options = { toolCallId: '1', messages: [] };
    return {
      tools: tools.size,
      call: (server, tool, args) => tools.get(`${server}__${tool}`).execute(args, options),
      close: () => Promise.all(clients.map((client) => client.close())),
    };
  };
}

async function mcpUse() {
  process.env.MCP_USE_ANONYMIZED_TELEMETRY = 'false';
  const { MCPClient } = await import('mcp-use/client');
  return async (servers) => {
    const client = MCPClient.fromDict({ mcpServers: servers });
    const sessions = await client.createAllSessions();
    const lists = await Promise.all(Object.values(sessions).map((session) => session.listTools()));
    return {
      tools: lists.flat().length,
      call: (server, tool, args) => sessions[server].callTool(tool, args),
      close: () => client.closeAllSessions(),
    };
  };
}

async function mcporter() {
  const { createRuntime } = await import('mcporter');
  return async (servers) => {
    const runtime = await createRuntime({
      servers: Object.entries(servers).map(([name, command]) => ({
        name,
        command: { kind: 'stdio', ...command, cwd: process.cwd() },
      })),
    });
    const lists = await each(servers, (name) => runtime.listTools(name));
    return {
      tools: lists.flat().length,
      call: (server, tool, args) => runtime.callTool(server, tool, { args }),
      close: () => runtime.close(),
    };
  };
}

function withStderr(servers) {
  return Object.fromEntries(Object.entries(servers).map(([name, command]) => [name, { ...command, stderr }]));
}

/** Functions that import a library, and return its `open`. Ours is told which build. */
export const libraries = {
  'open-mcp-gateway': openMcpGateway,
  'SDK v1': sdk,
  '@mastra/mcp': mastra,
  '@langchain/mcp-adapters': langchain,
  '@ai-sdk/mcp': aiSdk,
  'mcp-use': mcpUse,
  mcporter,
};
