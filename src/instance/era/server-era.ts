import { modernErrors, modernRevision } from '../../transport/modern.js';
import { isFields } from '../../util/fields.js';
import type { Response, RpcError } from '../exchanges.js';

/** The two ways of MCP: with `initialize` and sessions (up to 2025-11-25), or stateless (from 2026-07-28). */
export type Era = 'legacy' | 'modern';

/** What a server said to `server/discover`. */
export interface Discovery {
  readonly capabilities: Readonly<Record<string, unknown>>;
  readonly instructions: string | undefined;
  readonly serverInfo: Readonly<Record<string, unknown>> | undefined;
}

/**
 * What became of asking a server for its era. `legacy`: go on with `initialize` on the same connection, unless it was
 * answered already. `ended`: it did not
 * survive the question, or will not answer it. `failed`: nothing was found out.
 */
export type Verdict =
  | { readonly era: 'modern'; readonly discovery: Discovery }
  | { readonly era: 'legacy'; readonly initialized?: Response }
  | { readonly era: 'ended'; readonly error?: RpcError }
  | { readonly era: 'failed'; readonly error: RpcError };

/** The era of one server, found once for its definition. */
export class ServerEra {
  readonly #fixed: Era | undefined;
  #found: Era | undefined;

  constructor(protocol: 'auto' | Era) {
    this.#fixed = protocol === 'auto' ? undefined : protocol;
  }

  /** Set by the catalog: nothing else is tried. */
  get isFixed(): boolean {
    return this.#fixed !== undefined;
  }

  get known(): Era | undefined {
    return this.#fixed ?? this.#found;
  }

  /** A server of this definition has made a handshake of this era, or (undefined) has changed its mind. */
  learn(era: Era | undefined): void {
    this.#found = era;
  }
}

// Who is asked to come again, or who it is first, has said nothing of its era.
const undecided: ReadonlySet<unknown> = new Set([401, 403, 408, 429]);

/** Reads the answer to `server/discover`. */
export function judge(answer: Response): Verdict {
  if ('result' in answer) {
    const { supportedVersions, capabilities, instructions, _meta } = answer.result;
    if (!Array.isArray(supportedVersions) || !supportedVersions.includes(modernRevision) || !isFields(capabilities)) {
      return { era: 'legacy' };
    }
    const serverInfo = isFields(_meta) ? _meta['io.modelcontextprotocol/serverInfo'] : undefined;
    const discovery = {
      capabilities,
      instructions: typeof instructions === 'string' ? instructions : undefined,
      serverInfo: isFields(serverInfo) ? serverInfo : undefined,
    };
    return { era: 'modern', discovery };
  }
  const { error } = answer;
  const data = isFields(error.data) ? error.data : {};
  if (typeof data.code !== 'string' || error.code < 0) {
    // Its own answer, or none of ours: not what a stateless server says, which must know this method.
    return { era: 'legacy' };
  }
  if (data.exit !== undefined) {
    return { era: 'ended', error };
  }
  const { status } = data;
  const refused = typeof status === 'number' && status >= 400 && status < 500 && !undecided.has(status);
  return refused || data.code === 'ANSWER_INVALID' ? { era: 'legacy' } : { era: 'failed', error };
}

/** Whether a server has refused the revision of a request, and speaks ours of the stateless era. */
export function offersModern(answer: Response): boolean {
  if (!('error' in answer) || answer.error.code !== modernErrors.unsupportedVersion) {
    return false;
  }
  const { data } = answer.error;
  return isFields(data) && Array.isArray(data.supported) && data.supported.includes(modernRevision);
}
