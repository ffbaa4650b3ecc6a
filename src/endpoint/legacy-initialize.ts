import type { JSONRPCRequest } from '../sdk.js';
import { copyMessage } from '../transport/copy-message.js';
import { legacyRevisions, ownInfo } from '../transport/modern.js';
import { type Fields, isFields } from '../util/fields.js';
import { withoutNulls } from '../util/without-nulls.js';
import { named, readable, type Shape } from './readable.js';
import type { ServerSnapshot } from './snapshot.js';

/** What a caller said of itself in `initialize`. */
export interface CallerHandshake {
  /** Its params, as every server gets them, with the revision that was agreed on. */
  readonly params: NonNullable<JSONRPCRequest['params']>;
  readonly protocolVersion: string;
  readonly capabilities: Readonly<Record<string, unknown>>;
}

/** How deep the protocol says what a caller says of itself, such as which requests may become tasks. */
const depthOfParams = 5;

/** Reads the params of `initialize` and agrees on a revision: the caller's when it is known, else the newest. */
export function readInitialize(given: JSONRPCRequest['params']): CallerHandshake {
  const params = withoutNulls(given, depthOfParams);
  const asked = params?.protocolVersion;
  const protocolVersion = typeof asked === 'string' && legacyRevisions.includes(asked) ? asked : legacyRevisions[0];
  const declared = params?.capabilities;
  const capabilities = isFields(declared) ? declared : {};
  const clientInfo = params?.clientInfo ?? ownInfo;
  return { params: { ...params, protocolVersion, capabilities, clientInfo }, protocolVersion, capabilities };
}

/** What is said of servers that nobody has asked yet: they may have any of it. */
const anything = {
  tools: { listChanged: true },
  prompts: { listChanged: true },
  resources: { subscribe: true, listChanged: true },
  completions: {},
  logging: {},
  // Which tools run as tasks they say themselves; clients look at that only where this is declared.
  tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } },
} as const;

/** What a server can declare. */
const declarable: Shape = { ...anything, experimental: named, extensions: named };

/**
 * The answer to `initialize`, without waiting for any server: from what is known of all of them, else with everything
 * that the merged peer can pass on. Whoever gets it may change it.
 */
export function initializeResult(
  caller: CallerHandshake,
  version: string,
  known: readonly { readonly server: string; readonly snapshot: ServerSnapshot | undefined }[],
): Record<string, unknown> {
  const result = {
    protocolVersion: caller.protocolVersion,
    serverInfo: { name: 'open-mcp-gateway', version },
  };
  const snapshots = known.flatMap(({ server, snapshot }) => (snapshot === undefined ? [] : [{ ...snapshot, server }]));
  if (known.length === 0 || snapshots.length < known.length) {
    return { ...result, capabilities: copyMessage<Fields>(anything) };
  }
  const instructions = snapshots
    .flatMap(({ server, instructions: own }) => (own ? [`# ${server}\n\n${own}`] : []))
    .join('\n\n');
  const capabilities = snapshots.reduce<Record<string, unknown>>(
    // What one has declared oddly would cost the sessions of all.
    (all, own) => mergeObjects(all, readable(declarable, own.capabilities) as Fields),
    {},
  );
  for (const name of ['tools', 'prompts', 'resources']) {
    if (capabilities[name] !== undefined) {
      capabilities[name] = { ...(capabilities[name] as object), listChanged: true };
    }
  }
  return { ...result, capabilities: copyMessage(capabilities), ...(instructions !== '' && { instructions }) };
}

function mergeObjects(
  a: Readonly<Record<string, unknown>>,
  b: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...a };
  for (const [key, value] of Object.entries(b)) {
    const own = Object.hasOwn(merged, key) ? merged[key] : undefined;
    merged[key] =
      isFields(own) && isFields(value) ? mergeObjects(own, value) : value === false ? (own ?? value) : value;
  }
  return merged;
}

/** Why who declares this does not answer this question, though it answers others of this method. */
export function problemOfQuestion(
  declared: Fields | undefined,
  { method, params = {} }: { readonly method: string; readonly params?: Fields | undefined },
): string | undefined {
  const { mode, tools, toolChoice } = params;
  switch (method) {
    case 'elicitation/create':
      return hasMode(declared, mode) ? undefined : 'the client has not declared elicitation of this mode';
    case 'sampling/createMessage':
      return (tools ?? toolChoice ?? undefined) === undefined || hasSamplingTools(declared)
        ? undefined
        : 'the client has not declared sampling with tools';
    default:
      return undefined;
  }
}

function hasSamplingTools(capabilities: Fields | undefined): boolean {
  const declared = capabilities?.sampling;
  return isFields(declared) && declared.tools !== undefined;
}

/** Whether who declares this answers elicitation of this mode; without a mode it is a form, and so is what a plain `{}` declares. */
function hasMode(capabilities: Fields | undefined, mode: unknown): boolean {
  const declared = capabilities?.elicitation as Fields | undefined;
  const modes = declared?.form === undefined && declared?.url === undefined ? { form: {} } : declared;
  return mode === 'url' ? modes.url !== undefined : modes.form !== undefined;
}
