import { copyWritable } from '../../transport/copy-message.js';
import { legacyRevisions, metaKeys, modernRevision } from '../../transport/modern.js';
import { hasTasksExtension, tasksExtension } from '../../transport/tasks.js';
import { type Fields, isFields } from '../../util/fields.js';
import type { Discovery } from './server-era.js';

/** What each request to a server of the stateless era says of the caller. */
export function createEnvelope(capabilities: Fields, clientInfo: unknown, logLevel?: unknown): Fields {
  return {
    [metaKeys.protocolVersion]: modernRevision,
    [metaKeys.clientCapabilities]: capabilities,
    ...(isFields(clientInfo) && { [metaKeys.clientInfo]: clientInfo }),
    ...(logLevel !== undefined && { [metaKeys.logLevel]: logLevel }),
  };
}

/** The answer to `initialize` that a server of the stateless era would give, for one caller alone to change. */
export function toInitializeResult(server: string, caller: Fields, discovery: Discovery): Record<string, unknown> {
  const { instructions, serverInfo } = discovery;
  const capabilities = hasTasksExtension(discovery.capabilities)
    ? { ...discovery.capabilities, tasks: { cancel: {}, requests: { tools: { call: {} } } } }
    : discovery.capabilities;
  const asked = caller.protocolVersion;
  return copyWritable({
    protocolVersion: typeof asked === 'string' && legacyRevisions.includes(asked) ? asked : legacyRevisions[0],
    capabilities,
    serverInfo: serverInfo ?? { name: server, version: '0' },
    ...(instructions !== undefined && { instructions }),
  });
}

/** What a caller can do, of what the stateless era knows. */
export function toModernCapabilities(capabilities: unknown): Fields {
  if (!isFields(capabilities)) {
    return {};
  }
  const { tasks: _, roots, ...rest } = capabilities;
  return { ...rest, ...(roots !== undefined && { roots: {} }) };
}

/** Tasks are what the gateway can do, for every caller. */
export function addTasks(capabilities: Fields, hasTasks: boolean): Fields {
  const extensions = isFields(capabilities.extensions) ? capabilities.extensions : {};
  return hasTasks ? { ...capabilities, extensions: { ...extensions, [tasksExtension]: {} } } : capabilities;
}
