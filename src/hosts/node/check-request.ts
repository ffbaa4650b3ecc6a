import type { IncomingMessage } from 'node:http';
import type { JSONRPCMessage } from '../../sdk.js';
import { isJsonRpcMessage } from '../../transport/json-rpc.js';
import { legacyRevisions } from '../../transport/modern.js';
import { Refusal } from '../refusal.js';
import { isInitialize } from '../session-table.js';

/** As many messages as the SDK takes in one body; revision 2025-03-26 alone has batches. */
const maxBatch = 100;
const json = /^application\/json\s*(;|$)/i;

/** @throws Refusal unless the client takes both forms of an answer, and sends JSON */
export function checkPost({ headers }: IncomingMessage): void {
  const { accept = '' } = headers;
  if (!accept.includes('application/json') || !accept.includes('text/event-stream')) {
    throw new Refusal('accept', 'The Accept header must name both application/json and text/event-stream');
  }
  if (!json.test(headers['content-type'] ?? '')) {
    throw new Refusal('content-type', 'The body must be sent as application/json');
  }
}

/** @throws Refusal unless the client takes a stream */
export function checkListen({ headers }: IncomingMessage): void {
  if (headers.accept?.includes('text/event-stream') !== true) {
    throw new Refusal('accept', 'The Accept header must name text/event-stream');
  }
}

/** @throws Refusal for a header that names no revision with sessions; there need not be one */
export function checkRevision({ headers }: IncomingMessage): void {
  const revision = headers['mcp-protocol-version'];
  if (revision !== undefined && !legacyRevisions.includes(String(revision))) {
    const known = legacyRevisions.join(', ');
    throw new Refusal('protocol-version', `The MCP-Protocol-Version header must name one of ${known}`);
  }
}

/**
 * The messages of a body.
 *
 * @throws Refusal
 */
export function readMessages(body: unknown): readonly JSONRPCMessage[] {
  const messages: readonly unknown[] = Array.isArray(body) ? body : [body];
  if (messages.length > maxBatch) {
    throw new Refusal('message', `A batch may hold ${maxBatch} messages at most`);
  }
  if (messages.length === 0 || !messages.every(isJsonRpcMessage)) {
    throw new Refusal('message', 'The body is not a JSON-RPC message');
  }
  if (messages.length > 1 && messages.some(isInitialize)) {
    throw new Refusal('message', 'An initialize request comes alone');
  }
  return messages;
}
