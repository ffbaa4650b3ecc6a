import type { IncomingHttpHeaders } from 'node:http';
import type { Judge } from './judge.js';
import type { Message } from './members.js';
import type { Session } from './session.js';

/** Looks whether the headers of a request over Streamable HTTP are those that its revision asks for. */
export function checkHeaders(judge: Judge, what: string, headers: IncomingHttpHeaders, expected: Expected): void {
  for (const [name, value] of Object.entries(expected)) {
    if (headers[name] !== value) judge.problem(`${what} comes with ${name} ${headers[name]}, not with ${value}`);
  }
}

type Expected = Readonly<Record<string, string | undefined>>;

export function headersOfMessage(
  { id, method, params }: Message,
  session: Session | undefined,
  isModern: boolean,
): Expected {
  const { _meta, name } = (params ?? {}) as { _meta?: Record<string, string>; name?: string };
  // A notification need not say of which era it is.
  const own = isModern && id === undefined ? '2026-07-28' : undefined;
  const modern = _meta?.['io.modelcontextprotocol/protocolVersion'] ?? own;
  const isBeginning = method === 'initialize';
  return {
    accept: 'application/json, text/event-stream',
    'content-type': 'application/json',
    'last-event-id': undefined,
    ...(modern === undefined ? ofSession(isBeginning ? undefined : session) : { 'mcp-protocol-version': modern }),
    'mcp-method': modern === undefined ? undefined : method,
    'mcp-name': modern === undefined ? undefined : name,
  };
}

/** Of a request for a stream. */
export function headersOfListening(session: Session | undefined): Expected {
  return { accept: 'text/event-stream', 'content-type': undefined, ...ofSession(session) };
}

/** What goes with each request of a session. Without one nobody knows what was agreed on. */
export function ofSession(session: Session | undefined): Expected {
  return { 'mcp-session-id': session?.id, ...(session && { 'mcp-protocol-version': session.version }) };
}
