import { isError } from './util/is-error.js';

/**
 * What went wrong, for programs. Each code has a heading in `docs/errors.md` and a number of its own in JSON-RPC error
 * responses, outside the range that JSON-RPC and MCP reserve (-32768..-32000).
 */
export const errorNumbers = {
  CATALOG_INVALID: 1001,
  SERVER_UNKNOWN: 1002,
  SERVER_DISABLED: 1003,
  NOT_AUTHORIZED: 1004,
  ISOLATION_UNSUPPORTED: 1005,
  OPTION_INVALID: 1006,
  START_FAILED: 1101,
  START_TIMEOUT: 1102,
  CRASH_LOOP: 1103,
  SERVER_EXITED: 1201,
  SERVER_STOPPED: 1202,
  STOP_FAILED: 1203,
  SERVER_UNHEALTHY: 1204,
  REQUEST_TIMEOUT: 1301,
  MESSAGE_INVALID: 1302,
  MESSAGE_TOO_LARGE: 1303,
  REQUEST_CANCELLED: 1304,
  TRANSPORT_NOT_STARTED: 1401,
  TRANSPORT_CLOSED: 1402,
  GATEWAY_CLOSED: 1403,
  LIMIT_REACHED: 1404,
  INTERCEPTED: 1501,
  CONNECTION_FAILED: 1601,
  HTTP_STATUS: 1602,
  ANSWER_INVALID: 1603,
  SESSION_LOST: 1604,
  AUTH_REQUIRED: 1605,
  AUTH_FAILED: 1606,
} as const;

/** The code of a {@link GatewayError}. */
export type GatewayErrorCode = keyof typeof errorNumbers;

/** How a server ended. */
export interface ExitInfo {
  /** The exit code, when the server ended by itself. */
  readonly code?: number | undefined;
  /** The signal that ended it, such as `SIGKILL`. */
  readonly signal?: string | undefined;
  /** Why, when the runtime knows more than code and signal: `oom`, `evicted`, `stdout-closed`, … */
  readonly reason?: string | undefined;
  /**
   * The last part of what the server wrote to stderr, bounded; secrets of the catalog are replaced. Where that is nothing, of
   * what stood on stdout in place of its first message.
   */
  readonly stderrTail: string;
}

/** One problem of a catalog. */
export interface CatalogIssue {
  /** Where, as in `servers[0].runtime.url`; empty for the document itself. */
  readonly path: string;
  /** What is wrong and how to mend it. Never holds a resolved `${VAR}`. */
  readonly message: string;
  /** The id of the server concerned, when the entry has one. */
  readonly server?: string | undefined;
  /** Line in the text, from 1; only for catalogs that were parsed from text. */
  readonly line?: number | undefined;
  /** Column in that line, from 1. */
  readonly column?: number | undefined;
}

/** Where a person can grant access, for `AUTH_REQUIRED`: what the SDK's `auth()` needs to go on. */
export interface AuthInfo {
  /** The URL of the server, as in the catalog. */
  readonly serverUrl: string;
  /** Where the server describes who grants access to it, when it said so. */
  readonly resourceMetadataUrl?: string | undefined;
  /** The scope that the server asks for, when it said so. */
  readonly scope?: string | undefined;
}

/** What a {@link GatewayError} carries besides its code and message. */
export interface GatewayErrorOptions {
  /** The id of the catalog entry concerned; the message then begins with it. */
  readonly server?: string | undefined;
  /** The error that this one comes from. */
  readonly cause?: unknown;
  /** How the server ended, when it did. */
  readonly exit?: ExitInfo | undefined;
  /** Every problem of the catalog, for `CATALOG_INVALID`. */
  readonly issues?: readonly CatalogIssue[] | undefined;
  /** Had the request been handed to the server? `false` is safe to retry. */
  readonly delivered?: boolean | 'unknown' | undefined;
  /** HTTP status, for servers reached over HTTP. */
  readonly status?: number | undefined;
  /** How long a server over HTTP asks to wait (429, 503). */
  readonly retryAfterMs?: number | undefined;
  /** Where a person can grant access, for `AUTH_REQUIRED`. */
  readonly auth?: AuthInfo | undefined;
}

const details = ['server', 'exit', 'issues', 'delivered', 'status', 'retryAfterMs', 'auth'] as const;

const brand = Symbol.for('open-mcp-gateway.error');

/**
 * Every failure of this library. Told apart by `code`; the original error, if any, is in `cause`.
 *
 * MCP errors that a server answers are not turned into this class: they pass through as they are.
 */
export class GatewayError extends Error {
  /** What went wrong, for programs. docs/errors.md says of each what to do. */
  readonly code: GatewayErrorCode;
  /** The id of the catalog entry concerned. */
  declare readonly server: string | undefined;
  /** How the server ended, when it did. */
  declare readonly exit: ExitInfo | undefined;
  /** Every problem of the catalog, for `CATALOG_INVALID`. */
  declare readonly issues: readonly CatalogIssue[] | undefined;
  /** Had the request been handed to the server? `false` is safe to retry; `'unknown'` is not. */
  declare readonly delivered: boolean | 'unknown' | undefined;
  /** HTTP status, for servers reached over HTTP. */
  declare readonly status: number | undefined;
  /** How long the server asks to wait before the next try, when it said so (429, 503). */
  declare readonly retryAfterMs: number | undefined;
  /** Where a person can grant access, for `AUTH_REQUIRED`. */
  declare readonly auth: AuthInfo | undefined;

  constructor(code: GatewayErrorCode, message: string, options: GatewayErrorOptions = {}) {
    super(
      options.server === undefined ? message : `"${options.server}": ${message}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.name = 'GatewayError';
    this.code = code;
    for (const name of details) {
      // What there is nothing of would stand in each print of the error.
      if (options[name] !== undefined) {
        Object.assign(this, { [name]: options[name] });
      }
    }
    Object.defineProperty(this, brand, { value: true });
  }

  /** True for errors of any loaded copy of this library, ESM or CJS. */
  static is(value: unknown): value is GatewayError {
    return isError(value) && brand in value;
  }
}

/** How a message goes on with the tail of an exit; nothing when the server wrote nothing. */
export function tailSuffix(tail: string): string {
  const text = tail.trim();
  return text === '' ? '' : `; its output ends with: ${text.length > 2000 ? `…${text.slice(-2000)}` : text}`;
}
