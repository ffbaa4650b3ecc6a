import type { RpcError } from '../../instance/exchanges.js';
import type { JSONRPCRequest } from '../../sdk.js';
import { decodeHeader, encodeHeader } from '../../transport/http/mirrored-arguments.js';
import { metaKeys, modernErrors, namedBy } from '../../transport/modern.js';

/** Compares the headers of a request of the stateless era with its body: whoever read them must not have been misled. */
export function checkHeaders(headers: Headers, request: JSONRPCRequest): RpcError | undefined {
  const { method, params = {} } = request;
  const { _meta: meta = {} } = params;
  // Who reads these two knows of no encoding: a plain text stands there as it is.
  const differs = (name: string, expected: string) =>
    checkHeader(headers, name, (_, raw) => raw === encodeHeader(expected));
  const key = namedBy.get(method);
  const name = key === undefined ? undefined : (params as Readonly<Record<string, unknown>>)[key];
  return (
    differs('MCP-Protocol-Version', String(meta[metaKeys.protocolVersion])) ??
    differs('Mcp-Method', method) ??
    (typeof name === 'string' ? checkHeader(headers, 'Mcp-Name', (value) => value === name) : undefined)
  );
}

/**
 * The error for a header that says something else than the body.
 *
 * @param isRight - whether it may say this, undefined where it is missing or not written as it must be; and as it stands there
 */
export function checkHeader(
  headers: Headers,
  name: string,
  isRight: (value: string | undefined, raw: string | undefined) => boolean,
): RpcError | undefined {
  const given = headers.get(name)?.trim();
  if (isRight(given === undefined ? undefined : decodeHeader(given), given)) {
    return undefined;
  }
  const message = `the header ${name} ${given === undefined ? 'is missing' : 'does not match the body'}`;
  return { code: modernErrors.headerMismatch, message, data: { header: name } };
}
