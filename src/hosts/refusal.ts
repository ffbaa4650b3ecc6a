/**
 * Why a host did not hand a request to a session: `error.data.reason` of the JSON body, so that programs can tell the
 * refusals of one status apart.
 */
export type HttpRefusalReason =
  /** 400: the body is not JSON, or did not come to its end. */
  | 'body'
  /** 400: the body is JSON, but no message that the session can take. */
  | 'message'
  /** 400: the MCP-Protocol-Version header names a revision that has no sessions, or none at all. */
  | 'protocol-version'
  /** 400: there is no session id, and the request is none that begins a session. */
  | 'session-missing'
  /** 401: `authenticate` does not know the caller. */
  | 'unauthenticated'
  /** 403: the Host header names another host; somebody's name may have been pointed at this machine. */
  | 'host'
  /** 403: a page of another site sent the request. */
  | 'origin'
  /** 404: there is no such session for this caller. */
  | 'session-unknown'
  /** 405: neither POST, GET nor DELETE. */
  | 'method'
  /** 406: the Accept header leaves out what the answer may be. */
  | 'accept'
  /** 408: the body did not come in time. */
  | 'body-timeout'
  /** 409: the session has a stream already. */
  | 'stream-open'
  /** 413: the body is too large. */
  | 'body-too-large'
  /** 415: the body is not sent as JSON. */
  | 'content-type'
  /** 500: the host failed. */
  | 'failed'
  /** 503: the host is closing. */
  | 'closing'
  /** 503: there are as many sessions as there may be. */
  | 'too-many-sessions';

const statuses: Readonly<Record<HttpRefusalReason, number>> = {
  body: 400,
  message: 400,
  'protocol-version': 400,
  'session-missing': 400,
  unauthenticated: 401,
  host: 403,
  origin: 403,
  'session-unknown': 404,
  method: 405,
  accept: 406,
  'body-timeout': 408,
  'stream-open': 409,
  'body-too-large': 413,
  'content-type': 415,
  failed: 500,
  closing: 503,
  'too-many-sessions': 503,
};

/** A request that no session gets, and what its sender is told. */
export class Refusal extends Error {
  readonly reason: HttpRefusalReason;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(reason: HttpRefusalReason, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.reason = reason;
    this.status = statuses[reason];
    this.headers = { 'content-type': 'application/json', ...headers };
  }

  /** A JSON-RPC error without id. Its code is the status: the codes of JSON-RPC and MCP are for their own errors. */
  get body(): string {
    const { status, message, reason } = this;
    return JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: status, message, data: { reason } } });
  }
}

/** Why a body is not taken, of either kind of host. */
export const bodyRefusals = {
  tooLarge: (limitBytes: number) => new Refusal('body-too-large', `The body is larger than ${limitBytes} bytes`),
  tooLate: () => new Refusal('body-timeout', 'The body took too long', { connection: 'close' }),
  cutOff: () => new Refusal('body', 'The body did not come to its end'),
  notJson: () => new Refusal('body', 'The body is not JSON'),
};
