import { isOfHop, toHopError } from '../../instance/era/translate-error.js';
import type { Response, RpcError } from '../../instance/exchanges.js';
import type { JSONRPCRequest } from '../../sdk.js';
import { metaKeys, modernErrors } from '../../transport/modern.js';
import { type Fields, isFields } from '../../util/fields.js';
import { listKindOf } from '../list-kinds.js';
import { resumable } from './input-requests.js';
import type { RequestStates } from './request-states.js';
import { toModernResult, toModernTools, toPrivate } from './results.js';

export interface TranslationOptions {
  readonly states: RequestStates;
  /** Whose states they are. */
  readonly caller: string;
  /** Whether others would get the same answer if their servers gave it. */
  readonly isForAll: boolean;
  /** Whose answer it is, if it is one's. */
  readonly server: string | undefined;
}

/** An answer as the stateless era writes it, from a server of either era. */
export function toModernResponse(request: JSONRPCRequest, response: Response, options: TranslationOptions): Response {
  if ('error' in response) {
    return toModernError(request, response, options);
  }
  const { method } = request;
  const { result } = response;
  const { states, caller, server, isForAll } = options;
  const tagged =
    result.resultType === 'input_required' && typeof result.requestState === 'string' && server !== undefined
      ? {
          ...result,
          requestState: states.seal(caller, request, { kind: 'passed', server, state: result.requestState }),
        }
      : listKindOf(method) === 'tools'
        ? { ...result, tools: toModernTools(result.tools) }
        : result;
  return { ...response, result: toModernResult(method, isForAll ? tagged : toPrivate(tagged)) };
}

/** Codes of earlier revisions that the stateless one forbids: of a resource that is not there, and of pages to be seen. */
const givenUp: ReadonlyMap<number, number> = new Map([
  [-32002, -32602],
  [-32042, -32603],
]);

/** An error under a code that the stateless era has. */
export function withoutGivenUpCode(error: RpcError): RpcError {
  return { ...error, code: givenUp.get(error.code) ?? error.code };
}

function toModernError(
  request: JSONRPCRequest,
  response: Extract<Response, { error: unknown }>,
  options: TranslationOptions,
): Response {
  const { code, data } = response.error;
  if (isOfHop(response.error) && options.server !== undefined) {
    return { ...response, error: toHopError(response.error) };
  }
  const pages = code === -32042 && isFields(data) && Array.isArray(data.elicitations) ? data.elicitations : undefined;
  return pages === undefined || !resumable.has(request.method)
    ? { ...response, error: withoutGivenUpCode(response.error) }
    : toPages(request, response, pages as Fields[], options);
}

/** Whether a person did not want to see one of the pages. */
export function hasRefused(responses: unknown): boolean {
  const given: readonly unknown[] = isFields(responses) ? Object.values(responses) : [];
  return given.some((answer) => isFields(answer) && (answer.action === 'decline' || answer.action === 'cancel'));
}

/** A person has to see pages first: then the same request is good. */
function toPages(
  request: JSONRPCRequest,
  response: Extract<Response, { error: unknown }>,
  pages: readonly Fields[],
  { states, caller }: TranslationOptions,
): Response {
  const capabilities = request.params?._meta?.[metaKeys.clientCapabilities] as { elicitation?: Fields } | undefined;
  if (capabilities?.elicitation?.url === undefined) {
    const requiredCapabilities = { elicitation: { url: {} } };
    const { message } = response.error;
    return {
      ...response,
      error: { code: modernErrors.missingCapability, message, data: { requiredCapabilities } },
    };
  }
  const inputRequests = Object.fromEntries(
    pages.map((page, index) => {
      const { elicitationId: _, ...params } = isFields(page) ? page : {};
      return [`page${index}`, { method: 'elicitation/create', params: { ...params, mode: 'url' } }];
    }),
  );
  const requestState = states.seal(caller, request, { kind: 'again' });
  const result = { resultType: 'input_required', inputRequests, requestState };
  return { jsonrpc: '2.0', id: request.id, result: toModernResult(request.method, result) };
}
