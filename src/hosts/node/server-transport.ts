import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Transport } from '../../sdk.js';

/** A server-side transport for `node:http`, as SDK v1's `StreamableHTTPServerTransport`. */
export interface NodeServerTransport extends Transport {
  /** Answers a request of its session. `body` is the JSON of a POST; undefined for other methods. */
  handleRequest(request: IncomingMessage, response: ServerResponse, body?: unknown): Promise<void>;
}
