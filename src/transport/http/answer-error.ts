import { GatewayError } from '../../errors.js';
import type { Clock } from '../../options.js';
import { type Beginning, readBeginning } from './body.js';
import type { HttpAnswer } from './call.js';
import type { Exchange } from './exchange.js';
import { mediaType, type Step, showUrl } from './status.js';

/** How much is read of a body that only explains an error. */
const errorBodyBytes = 64 * 1024;

/** How long such a body may take: what is sent behind a notification waits for it. */
const errorBodyMs = 5_000;

/** The beginning of a body that only explains an error; empty when nothing of it comes in time. */
export async function readErrorBody(answer: HttpAnswer, clock: Clock): Promise<string> {
  return (await readRefusal(answer, clock, errorBodyBytes)).text;
}

/** The same, of more where the body may be the answer itself. */
export async function readRefusal(answer: HttpAnswer, clock: Clock, limitBytes = errorBodyBytes): Promise<Beginning> {
  const timer = clock.setTimeout(() => answer.abort(), errorBodyMs);
  const beginning = await readBeginning(answer, limitBytes);
  clock.clearTimeout(timer);
  return beginning;
}

/** The error for an answer that is none. */
export function answerInvalid(server: string, message: string, status?: number): GatewayError {
  return new GatewayError('ANSWER_INVALID', message, { server, status, delivered: 'unknown' });
}

/** The error for a status that means success with content that cannot be an answer; ends the answer. */
export async function unexpectedAnswer(
  exchange: Exchange,
  answer: HttpAnswer,
  step: Step,
  clock: Clock,
): Promise<GatewayError> {
  const url = showUrl(step.url);
  const type = mediaType(answer.header('content-type'));
  if (answer.status === 202 || answer.status === 204 || type === '') {
    answer.abort();
    return answerInvalid(step.server, `${step.name} was answered by ${url} with HTTP ${answer.status} and no message`);
  }
  const page = pageOf(exchange.hide(await readErrorBody(answer, clock)));
  return noAnswer(step, `content of type ${type}${page} instead of JSON or an event stream`, answer.status);
}

/** The error for an answer with `what`, where one of MCP was due. */
export function noAnswer({ server, name, url }: Step, what: string, status: number): GatewayError {
  return answerInvalid(
    server,
    `${name} was answered by ${showUrl(url)} with ${what}; is that the MCP endpoint?`,
    status,
  );
}

/** Which page it is, where one came: that of a login, or of a proxy. */
export function pageOf(text: string): string {
  const title = /<title[^>]{0,200}>([^<]{1,1000})/i.exec(text.slice(0, errorBodyBytes))?.[1]?.trim();
  return title === undefined ? '' : ` (a page "${title.length > 200 ? `${title.slice(0, 200)}…` : title}")`;
}
