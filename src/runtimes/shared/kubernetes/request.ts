import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Clock } from '../../../options.js';
import { eitherSignal } from '../../../util/abort.js';
import { type Fields, isFields } from '../../../util/fields.js';
import { lazyNode } from '../../../util/lazy-node.js';
import type { CallOptions } from './cluster.js';
import type { Connection } from './connection.js';
import { flawError, foreignError, isFailure, KubernetesError, networkError, refusalError } from './kubernetes-error.js';
import { pathOf, type ResourceRef, showResource } from './resources.js';
import { findFlaw } from './shapes.js';

export interface ApiRequest extends CallOptions {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** What Kubernetes calls it, for messages: `get`, `list`, `create`. */
  readonly verb: string;
  readonly body?: object | undefined;
}

/** Somebody has to end it: an API server and an exec plugin may keep silent for ever. */
interface AbortableRequest extends ApiRequest {
  readonly signal: AbortSignal;
}

/** Less than a start, whose end by time says nothing of whom it has waited for. */
const callTimeoutMs = 25_000;
const maxAnswerBytes = 64 * 1024 * 1024;
/** How often a server that is busy is asked again. */
export const maxBusyRetries = 5;
const maxCrossedRetries = 5;
const crossedMs = 200;
/** How many kept connections may turn out to be closed. */
export const mostStale = 3;

/**
 * Does what takes 25 s at most, credentials included.
 *
 * @param what - it is, for the error
 * @param signal - of who wants it; `run` gets one that is also aborted when the time is up
 */
export async function inTime<T>(
  connection: Connection,
  what: string,
  signal: AbortSignal | undefined,
  clock: Clock,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const limit = new AbortController();
  const late = `the API server ${connection.server} did not answer within ${callTimeoutMs / 1000} s, asked to ${what}`;
  const timer = clock.setTimeout(() => limit.abort(new KubernetesError('unreachable', late)), callTimeoutMs);
  const either = eitherSignal(signal ?? limit.signal, limit.signal);
  try {
    return await run(either.signal);
  } catch (error) {
    throw either.signal.aborted ? either.signal.reason : error;
  } finally {
    either.release();
    clock.clearTimeout(timer);
  }
}

/** One call to the API server, whose whole answer is read. */
export function call(connection: Connection, ref: ResourceRef, request: ApiRequest, clock: Clock): Promise<string> {
  return inTime(connection, `${request.verb} ${showResource(ref)}`, request.signal, clock, async (signal) => {
    const answer = await startRequest(connection, ref, { ...request, signal }, clock);
    return readAnswer(answer, connection.server);
  });
}

/** The same, for the object in the answer: a proxy that wants somebody to log in answers with 200 as well. */
export async function callForObject<T>(
  connection: Connection,
  ref: ResourceRef,
  request: ApiRequest,
  clock: Clock,
  isRight: (answer: Fields) => boolean = isObject,
): Promise<T> {
  const text = await call(connection, ref, request, clock);
  const answer = parseObject(text);
  if (answer === undefined || !isRight(answer)) throw foreignError(text, connection.server, request.verb, ref);
  // Whoever deletes is answered with anything.
  const flaw = request.method !== 'DELETE' && isObject(answer) ? findFlaw(answer, ref.resource) : undefined;
  if (flaw !== undefined) throw flawError(flaw, connection.server, request.verb, ref);
  return answer as T;
}

/** Undefined for what is no object of JSON. */
export function parseObject(text: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isFields(value) ? value : undefined;
  } catch {
    // The message of the parser quotes what may be a Secret.
    return undefined;
  }
}

/** Has what every Kubernetes object has. */
export function isObject(value: unknown): boolean {
  return isFields(value) && isFields(value.metadata);
}

/** A list of objects; Kubernetes writes an empty one as null, too. */
export function isList(answer: Fields): boolean {
  const { items } = answer;
  return isObject(answer) && (items === null || (Array.isArray(items) && items.every(isObject)));
}

/** One call to the API server, whose answer is handed over piece by piece, however long it is. */
export function callInPieces(
  connection: Connection,
  ref: ResourceRef,
  request: ApiRequest,
  clock: Clock,
  onPiece: (piece: Buffer) => void,
): Promise<void> {
  return inTime(connection, `${request.verb} ${showResource(ref)}`, request.signal, clock, async (signal) => {
    const answer = await startRequest(connection, ref, { ...request, signal }, clock);
    await readPieces(answer, connection.server, onPiece);
  });
}

/** Resolves with a successful answer, whose body nobody has read. The signal also ends the body. */
export async function startRequest(
  connection: Connection,
  ref: ResourceRef,
  request: AbortableRequest,
  clock: Clock,
): Promise<IncomingMessage> {
  let renewed = false;
  let busy = 0;
  let crossed = 0;
  for (let stale = 0; ; ) {
    let answer: IncomingMessage;
    try {
      answer = await send(connection, ref, request);
    } catch (error) {
      request.signal.throwIfAborted();
      if (!(error instanceof StaleConnection)) throw error;
      // The server may close a kept connection in the moment that we use it.
      stale += 1;
      if (stale > mostStale) throw networkError(error.cause, connection.server);
      request.repeated?.();
      continue;
    }
    const status = answer.statusCode ?? 0;
    if (status >= 200 && status < 300) return answer;
    const busyMs = busyMsOf(answer);
    const text = await readAnswer(answer, connection.server);
    const error = refusalError(status, text, connection.server, request.verb, ref);
    if (busyMs !== undefined && busy < maxBusyRetries) {
      busy += 1;
      await pause(busyMs, request.signal, clock);
    } else if (isFailure(error, 'crossed') && crossed < maxCrossedRetries) {
      crossed += 1;
      await pause(2 ** crossed * crossedMs * (0.5 + Math.random() / 2), request.signal, clock);
    } else if (isFailure(error, 'unauthorized') && !renewed) {
      renewed = true;
      await connection.reload(request.signal);
    } else {
      throw error;
    }
  }
}

/** When a server that is busy, or shuts down beside others, wants to be asked again: nothing was done. Undefined for other answers. */
export function busyMsOf({ statusCode, headers }: IncomingMessage): number | undefined {
  const seconds = Number(headers['retry-after']);
  return statusCode === 429 && seconds >= 0 ? Math.min(Math.max(seconds, 1), 10) * 1000 : undefined;
}

const ignore = () => {};

/** A kept connection broke before anything of the answer came. */
export class StaleConnection extends Error {}

async function send(
  connection: Connection,
  ref: ResourceRef,
  { method, query, body, signal }: AbortableRequest,
): Promise<IncomingMessage> {
  const { headers, ...settings } = await connection.settings(signal);
  signal.throwIfAborted();
  const url = connection.url(pathOf(ref), query);
  const text = body === undefined ? undefined : JSON.stringify(body);
  const { server } = connection;
  return new Promise((resolve, reject) => {
    const request: ClientRequest = lazyNode[url.protocol === 'http:' ? 'http' : 'https'].request(url, {
      ...settings,
      method,
      headers: {
        ...(headers as Record<string, string> | undefined),
        accept: 'application/json',
        ...(text !== undefined && {
          'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
          'content-length': Buffer.byteLength(text),
        }),
      },
      signal,
    });
    // Node listens no more once the answer has ended: an abort in that moment would be an error that nobody takes.
    request.once('socket', (socket) => socket.off('error', ignore).on('error', ignore));
    request.once('response', resolve);
    request.on('error', (cause) => {
      reject(
        request.reusedSocket && !signal.aborted ? new StaleConnection('', { cause }) : networkError(cause, server),
      );
    });
    request.end(text);
  });
}

async function readAnswer(answer: IncomingMessage, server: string): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  await readPieces(answer, server, (chunk) => {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > maxAnswerBytes) throw new Error(`its answer has more than ${maxAnswerBytes} bytes`);
  });
  return Buffer.concat(chunks).toString();
}

async function readPieces(answer: IncomingMessage, server: string, onPiece: (piece: Buffer) => void): Promise<void> {
  try {
    for await (const piece of answer as AsyncIterable<Buffer>) onPiece(piece);
  } catch (cause) {
    throw networkError(cause, server);
  }
}

/** Resolves after `ms`; rejects with `signal.reason` once aborted. */
export function pause(ms: number, signal: AbortSignal | undefined, clock: Clock): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clock.clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = clock.setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
  });
}
