import * as v from 'valibot';
import * as kinds from '../checks/option-kinds.js';
import { GatewayError } from '../errors.js';
import { type Clock, systemClock } from '../options.js';
import type { Caller } from '../runtime.js';
import { isHeaderValue } from '../util/header-value.js';
import { tell } from '../util/tell.js';
import { isLoopbackOnly, loopbackHosts } from './site-check.js';

/** What the transport of a session is made with: the options that the SDK's Streamable HTTP transports know. */
export interface SessionTransportSettings {
  /** Gives the id of the session. */
  readonly sessionIdGenerator: () => string;
}

/** Settings of `createNodeSessions` and `createWebSessions`. */
export interface HttpSessionOptions<Incoming> {
  /**
   * Says who sends a request; asked for every one, after Host and Origin were checked. Undefined refuses it with 401. A
   * session belongs to the `principal` and `id` that began it: for anybody else there is no such session. `serve` gets the
   * caller as it was when the session began; `gateway.serve` goes by the caller of each request, with the transport of this
   * library. Those of the SDK tell it of `authInfo` at most.
   *
   * @default everybody is a caller without a principal; only with loopback `hosts`
   */
  readonly authenticate?: ((request: Incoming) => Caller | undefined | Promise<Caller | undefined>) | undefined;
  /**
   * The WWW-Authenticate header of a 401. Where clients log in by OAuth, it names the metadata of the host:
   * `Bearer resource_metadata="https://example.com/.well-known/oauth-protected-resource"`.
   *
   * @default 'Bearer'
   */
  readonly challenge?: string | undefined;
  /**
   * What a Host header may hold: names for any port (`mcp.example.com`), or names with their port, without `https://` or `*`.
   * Others get 403.
   *
   * @default ['localhost', '127.0.0.1', '[::1]']
   */
  readonly hosts?: readonly string[] | undefined;
  /**
   * Origins whose pages may connect besides pages of the host itself, such as `https://app.example.com`, without a path or
   * `*`. Others get 403; a request without an Origin header comes from no page.
   *
   * @default []
   */
  readonly origins?: readonly string[] | undefined;
  /**
   * How many sessions there may be at once. One more is refused with 503.
   *
   * @default 10_000
   */
  readonly maxSessions?: number | undefined;
  /**
   * How large the body of a request may be, in bytes. A larger one is refused with 413.
   *
   * @default 16_777_216
   */
  readonly maxBodyBytes?: number | undefined;
  /**
   * How long the body of a request may take, in milliseconds. A slower one is refused with 408. How long its head may take
   * is a matter of the server: `headersTimeout` of `node:http`.
   *
   * @default 30_000
   */
  readonly bodyTimeoutMs?: number | undefined;
  /**
   * How long a session stays without a request or an open stream, in milliseconds.
   *
   * @default 300_000
   */
  readonly idleTimeoutMs?: number | undefined;
  /**
   * How long a session stays after its last open request or stream was broken off by the client, in milliseconds: the time
   * to come back.
   *
   * @default 30_000
   */
  readonly disconnectTimeoutMs?: number | undefined;
  /** Receives what went wrong in `authenticate`, while a session was served or closed. What it throws is ignored. */
  readonly onError?: ((error: unknown) => void) | undefined;
  /**
   * Time, for tests.
   *
   * @default the real time
   */
  readonly clock?: Clock | undefined;
}

const number = v.optional(v.number('must be a number'));

export const sessionOptions = v.strictObject({
  authenticate: kinds.optionalFunction,
  challenge: v.optional(
    v.pipe(
      v.string('must be a string'),
      v.check(isHeaderValue, 'holds a character that no HTTP header can have, such as a line break'),
    ),
  ),
  hosts: kinds.hosts,
  origins: kinds.origins,
  maxSessions: number,
  maxBodyBytes: number,
  bodyTimeoutMs: number,
  idleTimeoutMs: number,
  disconnectTimeoutMs: number,
  onError: kinds.optionalFunction,
  clock: kinds.clock,
} satisfies kinds.Schemas<HttpSessionOptions<never>>);

/** Settings of the close of all sessions. */
export interface CloseSessionsOptions {
  /**
   * How long open requests may go on, in milliseconds.
   *
   * @default 5000
   */
  readonly graceMs?: number | undefined;
}

export const closeOptions = v.strictObject({
  graceMs: kinds.duration,
} satisfies kinds.Schemas<CloseSessionsOptions>);

/** What holds the bodies of requests. */
export interface BodyLimits {
  readonly maxBodyBytes: number;
  readonly bodyTimeoutMs: number;
  readonly clock: Clock;
}

export interface ResolvedSessionOptions<Incoming> extends BodyLimits {
  readonly authenticate: (request: Incoming) => Caller | undefined | Promise<Caller | undefined>;
  readonly challenge: string;
  readonly hosts: readonly string[];
  readonly origins: readonly string[];
  readonly maxSessions: number;
  readonly idleTimeoutMs: number;
  readonly disconnectTimeoutMs: number;
  readonly onError: (error: unknown) => void;
}

/** @throws `GatewayError` `OPTION_INVALID` */
export function resolveSessionOptions<Incoming>(
  options: HttpSessionOptions<Incoming>,
): ResolvedSessionOptions<Incoming> {
  const hosts = options.hosts ?? loopbackHosts;
  if (options.authenticate === undefined && !isLoopbackOnly(hosts)) {
    throw new GatewayError(
      'OPTION_INVALID',
      'hosts names more than this machine, so authenticate is needed: () => ({}) lets everybody in',
    );
  }
  return {
    authenticate: options.authenticate ?? (() => ({})),
    challenge: options.challenge ?? 'Bearer',
    hosts,
    origins: options.origins ?? [],
    maxSessions: positive('maxSessions', options.maxSessions ?? 10_000),
    maxBodyBytes: positive('maxBodyBytes', options.maxBodyBytes ?? 16 * 1024 * 1024),
    bodyTimeoutMs: positive('bodyTimeoutMs', options.bodyTimeoutMs ?? 30_000),
    idleTimeoutMs: positive('idleTimeoutMs', options.idleTimeoutMs ?? 300_000),
    disconnectTimeoutMs: positive('disconnectTimeoutMs', options.disconnectTimeoutMs ?? 30_000),
    onError: (error) => tell(() => options.onError?.(error)),
    clock: options.clock ?? systemClock,
  };
}

function positive(name: string, value: number): number {
  if (!(value > 0)) {
    throw new GatewayError('OPTION_INVALID', `${name} must be more than 0, not ${value}`);
  }
  return value;
}
