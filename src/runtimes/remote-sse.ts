import type { StandardSchemaV1 } from '@standard-schema/spec';
import * as v from 'valibot';
import { checkOptions } from '../checks/check-options.js';
import * as kinds from '../checks/option-kinds.js';
import type { CheckResult, RuntimeContext, RuntimeFactory, RuntimeTransport } from '../runtime.js';
import { showUrl } from '../transport/http/status.js';
import type { RemoteSseOptions, RemoteSseServers } from './remote-sse/remote-sse-servers.js';
import { type RemoteSseSpec, remoteSseSpec } from './remote-sse/spec.js';
import { httpOptions } from './shared/http-options.js';
import { OnDemand } from './shared/on-demand.js';

export type { TlsOptions } from '../transport/http/connections.js';
export type { RemoteSseOptions } from './remote-sse/remote-sse-servers.js';
export type { RemoteSseSpec } from './remote-sse/spec.js';

const optionsSchema = v.strictObject({
  ...httpOptions,
  authProvider: kinds.optionalFunction,
  proxy: v.optional(v.union([v.string(), v.literal(false)], 'must be a string or false')),
  maxConnections: kinds.numberFrom0,
} satisfies kinds.Schemas<RemoteSseOptions>);

/**
 * Connects to servers that already run, over Streamable HTTP or the older HTTP+SSE: type `remote-sse`.
 *
 * A message is sent once. Redirects are followed within the origin alone; no header of the catalog goes anywhere else.
 */
export class RemoteSseRuntime implements RuntimeFactory<RemoteSseSpec> {
  readonly type = 'remote-sse';
  readonly spec: StandardSchemaV1<RemoteSseSpec> = remoteSseSpec;
  readonly supports = { env: false, stderr: false, exit: false, starts: false } as const;

  readonly #servers: OnDemand<RemoteSseServers>;

  /** @throws `GatewayError` `OPTION_INVALID` */
  constructor(options: RemoteSseOptions = {}) {
    checkOptions('RemoteSseRuntime', optionsSchema, options);
    this.#servers = new OnDemand(async () => {
      const { RemoteSseServers } = await import('./remote-sse/remote-sse-servers.js');
      return new RemoteSseServers(options);
    });
  }

  /** Where it goes; values of headers and of the query do not show. */
  describe(spec: RemoteSseSpec): Record<string, unknown> {
    return {
      url: showUrl(new URL(spec.url)),
      headers: Object.keys(spec.headers ?? {}).sort(),
      transport: spec.transport ?? 'auto',
    };
  }

  /** Asks whether the address answers. */
  async check(spec: RemoteSseSpec, context: RuntimeContext): Promise<CheckResult> {
    return (await this.#servers.get()).check(spec, context);
  }

  /**
   * Opens a connection; over HTTP+SSE the session's stream as well.
   *
   * @throws `GatewayError` `START_FAILED` that tells DNS, refusal, time-out and TLS apart; `AUTH_REQUIRED` or `AUTH_FAILED`
   */
  async open(spec: RemoteSseSpec, context: RuntimeContext): Promise<RuntimeTransport> {
    return (await this.#servers.get()).open(spec, context);
  }

  /** Ends every connection. */
  close(): Promise<void> {
    return this.#servers.close();
  }
}
