import type { JSONRPCRequest } from '../../sdk.js';
import { onlyEnvelope } from '../modern.js';
import type { Exchange } from './exchange.js';
import type { OpenRequest } from './open-request.js';

type Headers = Readonly<Record<string, string>>;

/** A server that pages for ever must not keep a call for ever. */
const mostPages = 1_000;

/**
 * Sends a call once more that was refused for its headers, since the tools of the server are not known yet, or others by now:
 * asks for them, page by page, until they give it other headers.
 *
 * @param again - sends it if it has other headers by now
 * @param learn - asks for a page of tools; gives the cursor of the next one, undefined where there is none
 * @returns undefined when no tool gives it other headers, or nobody waits any more
 */
export async function sendAgain(
  open: OpenRequest,
  again: () => Exchange | undefined,
  learn: (cursor: unknown) => Promise<unknown>,
): Promise<Exchange | undefined> {
  const next = () => (open.over ? undefined : again());
  // A list may have come since it was sent.
  let found = next();
  let cursor: unknown;
  // Until there is no other page: a cursor that comes again ends the list.
  const asked = new Set<unknown>();
  while (found === undefined && !open.over && !asked.has(cursor) && asked.size < mostPages) {
    asked.add(cursor);
    // Some write null for none. An empty text may be a cursor in this revision.
    cursor = (await learn(cursor)) ?? undefined;
    found = next();
  }
  return found;
}

/** Asks for a page of tools on behalf of a call, which has been answered: its id is free. */
export function toolsRequest({ id, params }: JSONRPCRequest, cursor: unknown): JSONRPCRequest {
  const own = { ...(cursor !== undefined && { cursor }), _meta: onlyEnvelope(params?._meta) };
  return { jsonrpc: '2.0', id, method: 'tools/list', params: own };
}

/** Sends what has other headers now than before. */
export function differing(before: Headers, now: Headers, send: (now: Headers) => Exchange): Exchange | undefined {
  return JSON.stringify(before) === JSON.stringify(now) ? undefined : send(now);
}
