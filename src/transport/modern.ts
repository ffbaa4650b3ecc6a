import type { JSONRPCMessage, JSONRPCNotification } from '../sdk.js';
import type { Fields } from '../util/fields.js';

/** The stateless revision that is spoken here. */
export const modernRevision = '2026-07-28';

/** The revisions with sessions, newest first. */
export const legacyRevisions: readonly [string, ...string[]] = [
  '2025-11-25',
  '2025-06-18',
  '2025-03-26',
  '2024-11-05',
  '2024-10-07',
];

/** What we say of ourselves where no caller has said anything of itself. */
export const ownInfo = { name: 'open-mcp-gateway', version: '0' } as const;

/** Keys of `_meta` that the stateless revision reserves. */
export const metaKeys = {
  protocolVersion: 'io.modelcontextprotocol/protocolVersion',
  clientCapabilities: 'io.modelcontextprotocol/clientCapabilities',
  clientInfo: 'io.modelcontextprotocol/clientInfo',
  logLevel: 'io.modelcontextprotocol/logLevel',
  serverInfo: 'io.modelcontextprotocol/serverInfo',
  subscriptionId: 'io.modelcontextprotocol/subscriptionId',
} as const;

/** Error codes that only the stateless revision has. */
export const modernErrors = {
  headerMismatch: -32020,
  missingCapability: -32021,
  unsupportedVersion: -32022,
} as const;

/** The param that the header Mcp-Name says too, by method. */
export const namedBy: ReadonlyMap<string, string> = new Map([
  ['tools/call', 'name'],
  ['prompts/get', 'name'],
  ['resources/read', 'uri'],
  ['tasks/get', 'taskId'],
  ['tasks/update', 'taskId'],
  ['tasks/cancel', 'taskId'],
]);

const envelopeKeys = [metaKeys.protocolVersion, metaKeys.clientCapabilities, metaKeys.clientInfo, metaKeys.logLevel];

/** Whether a message says of itself that it follows a stateless revision, rightly or not. */
export function hasEnvelope(message: JSONRPCMessage): boolean {
  return namedVersion(message) !== undefined;
}

/** The revision that a message of the stateless era (2026-07-28 and later) says it follows; undefined for others. */
export function modernVersion(message: JSONRPCMessage): string | undefined {
  const version = namedVersion(message);
  return typeof version === 'string' ? version : undefined;
}

function namedVersion(message: JSONRPCMessage): unknown {
  const meta = 'method' in message ? (message.params?._meta as Fields | undefined) : undefined;
  return meta?.[metaKeys.protocolVersion];
}

/** The id of the stream that a notification belongs to, as its sender writes it; undefined where it names none. */
export function streamOf({ params }: JSONRPCNotification): unknown {
  return (params?._meta as Fields | undefined)?.[metaKeys.subscriptionId];
}

/** Of `_meta` what says who asks, and in which revision. */
export function onlyEnvelope(meta: Fields | undefined): Record<string, unknown> {
  const keys = [metaKeys.protocolVersion, metaKeys.clientCapabilities, metaKeys.clientInfo];
  return Object.fromEntries(keys.filter((key) => meta?.[key] !== undefined).map((key) => [key, meta?.[key]]));
}

/** `_meta` without what belongs to the envelope of one request; undefined when nothing is left. */
export function withoutEnvelope(meta: Fields | undefined): Record<string, unknown> | undefined {
  if (meta === undefined) return undefined;
  const rest: Record<string, unknown> = { ...meta };
  for (const key of envelopeKeys) delete rest[key];
  return Object.keys(rest).length === 0 ? undefined : rest;
}
