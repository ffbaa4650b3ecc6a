import type { JSONRPCRequest } from '../sdk.js';
import type { ScriptedInstance } from './scripted-instance.js';
import { type hold, type Json, ScriptedError, type ScriptedHandler, type ScriptedTool } from './scripted-server.js';

/** What a script without a handler of its own answers. */
const standard: Readonly<Record<string, ScriptedHandler>> = {
  initialize: (request, { server: { script, capabilities } }) => ({
    protocolVersion: request.params?.protocolVersion,
    capabilities,
    serverInfo: { name: 'scripted', version: '1' },
    ...(script.instructions !== undefined && { instructions: script.instructions }),
  }),
  ping: () => ({}),
  'tools/list': (_, { server: { script } }) => ({ tools: (script.tools ?? []).map(toShown) }),
  'prompts/list': (_, { server: { script } }) => ({ prompts: script.prompts ?? [] }),
  'resources/list': (_, { server: { script } }) => ({ resources: script.resources ?? [] }),
  'resources/templates/list': (_, { server: { script } }) => ({ resourceTemplates: script.resourceTemplates ?? [] }),
  'resources/subscribe': () => ({}),
  'resources/unsubscribe': () => ({}),
  'logging/setLevel': () => ({}),
  'tools/call': callTool,
};

/** Finds who answers a request, and lets it. */
export async function answerAsScripted(
  request: JSONRPCRequest,
  instance: ScriptedInstance,
): Promise<Json | typeof hold> {
  const own = instance.server.script.on;
  const handler = own !== undefined && Object.hasOwn(own, request.method) ? own[request.method] : undefined;
  const common = Object.hasOwn(standard, request.method) ? standard[request.method] : undefined;
  const found = handler ?? common;
  if (found === undefined) {
    throw new ScriptedError(-32601, 'no such method');
  }
  return found(request, instance);
}

async function callTool(request: JSONRPCRequest, instance: ScriptedInstance): Promise<Json | typeof hold> {
  const { name, arguments: args = {} } = (request.params ?? {}) as { name?: string; arguments?: Json };
  const tool = instance.server.script.tools?.find((one) => one.name === name);
  const result = await tool?.call?.(args, instance, request);
  if (typeof result === 'string') {
    return { content: [{ type: 'text', text: result }] };
  }
  return result ?? { content: [], structuredContent: { server: instance.context.server, params: request.params } };
}

/** What lists show of a tool: functions are not for the wire. A script may hold rubbish, which is shown as it is. */
function toShown(tool: ScriptedTool): Json {
  if (typeof tool?.call !== 'function') {
    return tool as Json;
  }
  const { call, ...shown } = tool;
  return shown;
}
