import type { JSONRPCMessage, RequestId } from '../sdk.js';

/**
 * True for what may travel as a JSON-RPC 2.0 message: a request, a notification, a result or an error. Looks at the
 * envelope alone; what is inside is for the two ends to judge. Member names are exact, so `ID` is not `id`.
 */
export function isJsonRpcMessage(value: unknown): value is JSONRPCMessage {
  if (typeof value !== 'object' || value === null || (value as { jsonrpc?: unknown }).jsonrpc !== '2.0') {
    return false;
  }
  const { id, method, params, result, error } = value as Record<string, unknown>;
  if (method !== undefined) {
    return (
      typeof method === 'string' &&
      (id === undefined ? !('id' in value) : isRequestId(id)) &&
      (params === undefined || (typeof params === 'object' && params !== null)) &&
      result === undefined &&
      error === undefined
    );
  }
  if (!isRequestId(id)) {
    return false;
  }
  return error === undefined
    ? typeof result === 'object' && result !== null
    : typeof error === 'object' && error !== null && result === undefined;
}

/** The same, and an error that answers nothing in particular: one whose sender could not read the id. */
export function isCallersMessage(value: unknown): value is JSONRPCMessage {
  return isJsonRpcMessage(value) || isErrorWithoutId(value);
}

function isErrorWithoutId(value: unknown): boolean {
  const { jsonrpc, id, method, error } = Object(value) as Record<string, unknown>;
  return jsonrpc === '2.0' && (id ?? method) === undefined && typeof error === 'object' && error !== null;
}

/**
 * Whether a message is lost on a client that gets the answer in the same breath: those of both SDKs look at a notification a
 * microtask after it came, at an answer at once, and forget with the answer who wanted to know of progress.
 */
export function isProgress(message: JSONRPCMessage): boolean {
  return 'method' in message && message.method === 'notifications/progress';
}

/**
 * The number that a text stands for which names a request: some servers write a number as a text when they name it again, and
 * clients of both SDKs know it all the same. NaN for what stands for none.
 */
export function numberOf(text: string): number {
  return text.trim() === '' ? Number.NaN : Number(text);
}

/** What is kept for a request, by its name as the other side writes it. */
export function findNamed<T>(map: Pick<ReadonlyMap<unknown, T>, 'get'> | undefined, name: unknown): T | undefined {
  return map?.get(name) ?? (typeof name === 'string' ? map?.get(numberOf(name)) : undefined);
}

/** Whether an answer under this id is one to the request of that; never where there is no request. */
export function isAnswerTo(request: RequestId | undefined, id: unknown): boolean {
  return (
    (request !== undefined && id === request) ||
    (typeof id === 'string' && typeof request === 'number' && numberOf(id) === request)
  );
}

/** True for what may name a request: a text or a number. */
export function isRequestId(id: unknown): boolean {
  return typeof id === 'string' || (typeof id === 'number' && Number.isFinite(id));
}
