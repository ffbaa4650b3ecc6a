import type { RpcError } from '../../instance/exchanges.js';
import type { JSONRPCRequest } from '../../sdk.js';
import { decodeHeader } from '../../transport/http/mirrored-arguments.js';
import { metaKeys, modernErrors, namedBy } from '../../transport/modern.js';

/** Compares the headers of a request of the stateless era with its body: whoever read them must not have been misled. */
export function checkHeaders(headers: Headers, request: JSONRPCRequest): RpcError | undefined {
  const { method, params = {} } = request;
  const { _meta: meta = {} } = params;
  const differs = (name: string, expected: string) => {
    const given = headers.get(name);
    const value = given === null ? undefined : decodeHeader(given.trim());
    return value === expected
      ? undefined
      : {
          code: modernErrors.headerMismatch,
          message: `the header ${name} ${given === null ? 'is missing' : 'does not match the body'}`,
          data: { header: name },
        };
  };
  const key = namedBy.get(method);
  const name = key === undefined ? undefined : (params as Readonly<Record<string, unknown>>)[key];
  return (
    differs('MCP-Protocol-Version', String(meta[metaKeys.protocolVersion])) ??
    differs('Mcp-Method', method) ??
    (typeof name === 'string' ? differs('Mcp-Name', name) : undefined)
  );
}
