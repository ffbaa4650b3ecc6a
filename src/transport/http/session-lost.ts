import type { RequestId } from '../../sdk.js';
import { isAnswerTo } from '../json-rpc.js';
import type { HttpAnswer } from './call.js';
import type { ErrorBody } from './wire.js';

/** What is wrong with a request itself: a method, arguments or a resource that is not there. */
const requestErrors: ReadonlySet<number> = new Set([-32601, -32602, -32002]);

/** The session of MCP, and not one of a browser or a chat that a tool knows. */
const ownSession =
  /(?:^|[:.]\s*|\b(?:mcp|no|unknown|invalid|the|your|valid|missing|expired)[-\s])session(?:[-\s]?id)?\b/i;

/** A server that was started anew says the latter, when it serves one session. */
const anySession = /session|\bserver (?:is )?not initialized\b/i;

/** What mcp-go and the C# SDK say to who opens the stream of a session anew while they hold the old one. */
const heldStream = /\bsession already exists\b|\bmultiple GET requests\b/i;

/** A page of HTML may speak of any session. */
const longestReason = 500;

/**
 * Whether a refusal says that the server no longer knows the session. Some say it with the id of the request: then it has to
 * name the session, as it may be what the server answers to that.
 *
 * @param text - of which `body` was read
 */
export function meansForgotten(
  answer: HttpAnswer,
  text: string,
  body: ErrorBody | undefined,
  id: RequestId | undefined,
): boolean {
  const { status } = answer;
  if (body !== undefined && isAnswerTo(id, body.id)) {
    const { code, message } = body.error;
    return (status === 404 || status === 400) && !requestErrors.has(code) && ownSession.test(message);
  }
  return status === 404 || (status === 400 && speaksOfSession(body?.error.message ?? text)) || isLost401(answer, text);
}

/**
 * Whether the refusal of a stream says that the server no longer knows the session. With 400 it may be the last event that
 * it does not know.
 */
export function forgetsSession(answer: HttpAnswer, text: string, lastEventId: string | undefined): boolean {
  const { status } = answer;
  return (
    status === 404 ||
    (status === 400 && (lastEventId === undefined || anySession.test(text)) && !holdsStream(answer, text)) ||
    isLost401(answer, text)
  );
}

/** Whether the refusal of a stream with 400 says that the session has one already. Others say so with 409. */
export function holdsStream({ status }: HttpAnswer, text: string): boolean {
  return status === 400 && text.length <= longestReason && heldStream.test(text);
}

/** May a refusal be that of a session which is not known? Servers by rmcp before 0.17 give it the status of missing access. */
export function mayBeLost401(answer: HttpAnswer): boolean {
  return answer.status === 401 && answer.header('www-authenticate') === undefined;
}

/** Is it one? */
export function isLost401(answer: HttpAnswer, text: string): boolean {
  return mayBeLost401(answer) && text.length <= longestReason && /\bsession not found\b/i.test(text);
}

function speaksOfSession(reason: string): boolean {
  return reason.length <= longestReason && anySession.test(reason);
}
