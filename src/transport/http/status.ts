import { GatewayError } from '../../errors.js';
import type { Clock } from '../../options.js';
import type { HttpAnswer } from './call.js';

/** What is said of an answer: whose, and to which step. */
export interface Step {
  readonly server: string;
  /** As in `POST tools/call`. */
  readonly name: string;
  readonly url: URL;
}

/** A URL for messages: its query may hold secrets. */
export function showUrl({ origin, pathname }: URL): string {
  return origin + pathname;
}

/** The typed error for a status that is no MCP answer; `body` is the beginning of what came with it. */
export function statusError(answer: HttpAnswer, body: string, step: Step, clock: Clock): GatewayError {
  const { status } = answer;
  const retryAfterMs = status === 429 || status === 503 ? retryAfter(answer.header('retry-after'), clock) : undefined;
  const wait = retryAfterMs === undefined ? '' : `; it asks to wait ${Math.ceil(retryAfterMs / 1000)} s`;
  const remedy = redirectTo(answer, step.url) ?? remedies[status] ?? (status >= 500 ? 'the server failed' : '');
  const message = `${step.name} was answered by ${showUrl(step.url)} with HTTP ${status}`;
  const detail = excerpt(body, answer.header('content-type'));
  return new GatewayError('HTTP_STATUS', [message + wait, remedy, detail].filter(Boolean).join('; '), {
    server: step.server,
    status,
    retryAfterMs,
    delivered: refused(status, retryAfterMs) ? false : 'unknown',
  });
}

/** These say that nobody has looked at the request, or that it was turned down. */
function refused(status: number, retryAfterMs: number | undefined): boolean {
  if (status === 408 || status === 409) return false;
  // 307 and 308 want the same request elsewhere. The other redirects may lead to what came of one that was carried out.
  return (status >= 307 && status < 500) || (status === 503 && retryAfterMs !== undefined);
}

/**
 * Whether a refusal may pass by itself: the server, or a proxy before it, failed, has too much to do, or still holds the
 * connection that was cut.
 */
export function mayPass(status: number): boolean {
  return status >= 500 || passing.has(status);
}

const passing: ReadonlySet<number> = new Set([408, 409, 425, 429]);

const remedies: Readonly<Record<number, string>> = {
  400: 'the server did not understand the request',
  403: 'access is denied: check the credentials, and whether the server wants this caller',
  404: 'nothing is there: check the path in url',
  405: 'the path takes no such requests: check the path in url, and transport',
  406: 'the server cannot answer with JSON or an event stream: is this an MCP endpoint?',
  413: 'the request is too large for the server, or for a proxy before it',
  415: 'the server does not take JSON: is this an MCP endpoint?',
  429: 'too many requests',
  502: 'a proxy before the server could not reach it',
  503: 'the server is not available now',
  504: 'a proxy before the server waited too long for it',
};

function redirectTo(answer: HttpAnswer, from: URL): string | undefined {
  if (answer.status < 300 || answer.status > 399) return undefined;
  const location = answer.header('location');
  const to = location === undefined ? undefined : URL.parse(location, from.href);
  if (to == null) return 'it redirects to nowhere';
  if (to.origin !== from.origin) {
    return `it redirects to another origin, ${to.origin}, which is not followed: put the right address into url`;
  }
  return `it redirects to ${to.pathname}, which is not followed here: put the right address into url`;
}

/** Milliseconds of a Retry-After header: seconds, or a date. */
export function retryAfter(value: string | undefined, clock: Clock): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  // Date.parse takes nearly any number for a year.
  const date = /^[A-Za-z]{3}/.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - clock.date());
}

const longest = 300;
const longestHead = 64 * 1024;

/** What a server wrote that is no MCP answer, in short. */
export function excerpt(body: string, contentType: string | undefined): string {
  const html = /^\s*</.test(body) || mediaType(contentType) === 'text/html';
  const text = html ? titleOf(body) : (messageOfError(body) ?? body);
  const plain = text.replaceAll(/[\p{Cc}\s]+/gu, ' ').trim();
  const short = plain.length > longest ? `${plain.slice(0, longest)}…` : plain;
  if (html) return `it sent an HTML page${short === '' ? '' : ` "${short}"`}`;
  return short === '' ? '' : `it says: ${short}`;
}

/** Looks at the beginning alone, and at no tag for long: many that begin and do not end would take their square of time. */
function titleOf(page: string): string {
  return /<(title|h1)[^>]{0,200}>([^<]{1,1000})/i.exec(page.slice(0, longestHead))?.[2] ?? '';
}

function messageOfError(body: string): string | undefined {
  try {
    const value = JSON.parse(body) as { error?: { message?: unknown } | string; message?: unknown };
    const message = typeof value.error === 'object' ? value.error.message : (value.error ?? value.message);
    return typeof message === 'string' ? message : undefined;
  } catch {
    return undefined;
  }
}

/** `text/html` of `Text/HTML; charset=utf-8`. Of several, as where a proxy adds one, the first. */
export function mediaType(contentType: string | undefined): string {
  return (contentType ?? '')
    .replace(/[;,].*/s, '')
    .trim()
    .toLowerCase();
}

/** Whether a stream of events was asked for, and this is one. */
export function isEventStream(answer: HttpAnswer): boolean {
  return answer.status === 200 && mediaType(answer.header('content-type')) === 'text/event-stream';
}
