import { type Clock, systemClock } from '../../../options.js';
import { type Fields, isFields } from '../../../util/fields.js';
import { openChannels } from './channels.js';
import type { CallOptions, Cluster, ListOptions } from './cluster.js';
import { Connection } from './connection.js';
import type { KubernetesOptions } from './kube-config.js';
import { type ApiRequest, call, callForObject, callInPieces, isList } from './request.js';
import type { ResourceRef } from './resources.js';
import { startWatch } from './watch.js';

/** The clusters of one runtime: one for each context, opened when it is first asked for. */
export class Clusters {
  readonly #options: KubernetesOptions;
  readonly #clock: Clock;
  readonly #connections = new Map<string, Promise<Connection>>();

  constructor(options: KubernetesOptions = {}, clock: Clock = systemClock) {
    this.#options = options;
    this.#clock = clock;
  }

  /**
   * Reads the configuration; asks nobody.
   *
   * @param context - of the kubeconfig; its current one when undefined
   * @throws `GatewayError` `START_FAILED`: no kubeconfig, no such context, `@kubernetes/client-node` is not installed
   */
  async open(context?: string): Promise<Cluster> {
    const key = context === undefined ? '' : `context ${context}`;
    let connection = this.#connections.get(key);
    if (connection === undefined) {
      connection = Connection.open(this.#options, context, this.#clock);
      this.#connections.set(key, connection);
      // It may be there the next time.
      connection.catch(() => this.#connections.delete(key));
    }
    return toCluster(await connection, this.#clock);
  }

  /** Ends the connections that are kept for later calls; what is open stays open. */
  async close(): Promise<void> {
    // The kubeconfig function of a host may take for ever: what comes of it later ends then.
    for (const made of this.#connections.values()) made.then((connection) => connection.close()).catch(() => {});
    this.#connections.clear();
  }
}

function toCluster(connection: Connection, clock: Clock): Cluster {
  const askJson = <T>(ref: ResourceRef, request: ApiRequest, isRight?: (answer: Fields) => boolean) =>
    callForObject<T>(connection, ref, request, clock, isRight);
  const withoutName = (ref: ResourceRef) => ({ ...ref, name: undefined });
  return {
    get server() {
      return connection.server;
    },
    get pod() {
      return connection.loaded.pod;
    },
    get: (ref, options) => askJson(ref, { ...options, method: 'GET', verb: 'get' }),
    async list<T>(ref: ResourceRef, { labelSelector, fieldSelector, query, signal }: ListOptions = {}) {
      const selectors = {
        ...query,
        ...(labelSelector !== undefined && { labelSelector }),
        ...(fieldSelector !== undefined && { fieldSelector }),
      };
      const request = { method: 'GET', verb: 'list', query: selectors, signal } as const;
      return (await askJson<{ readonly items: readonly T[] | null }>(ref, request, isList)).items ?? [];
    },
    create: (ref, body, options) =>
      askJson(ref.subresource === undefined ? withoutName(ref) : ref, {
        ...options,
        method: 'POST',
        verb: 'create',
        body,
      }),
    patch: (ref, body, options) => askJson(ref, { ...options, method: 'PATCH', verb: 'patch', body }),
    async delete(ref, { propagationPolicy, uid, resourceVersion, ...options } = {}) {
      const body = {
        kind: 'DeleteOptions',
        apiVersion: 'v1',
        ...(propagationPolicy !== undefined && { propagationPolicy }),
        ...((uid ?? resourceVersion) !== undefined && { preconditions: { uid, resourceVersion } }),
      };
      await askJson(ref, { ...options, method: 'DELETE', verb: 'delete', body }, () => true);
    },
    text: (ref, options) => call(connection, ref, { ...options, method: 'GET', verb: 'get' }, clock),
    textInPieces: (ref, onPiece, options) =>
      callInPieces(connection, ref, { ...options, method: 'GET', verb: 'get' }, clock, onPiece),
    async allows({ verb, group, resource, subresource, namespace }, options?: CallOptions) {
      const review = {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SelfSubjectAccessReview',
        spec: { resourceAttributes: { verb, group, resource, subresource, namespace } },
      };
      const ref = { group: 'authorization.k8s.io', version: 'v1', resource: 'selfsubjectaccessreviews' };
      const { status } = await askJson<{ status: { allowed?: boolean; reason?: string } }>(
        ref,
        { ...options, method: 'POST', verb: 'create', body: review },
        (answer) => isFields(answer.status),
      );
      return { allowed: status.allowed === true, reason: status.reason ?? '' };
    },
    watch: (ref, options) => startWatch(connection, ref, options, clock),
    connect: (ref, options) => openChannels(connection, ref, options, clock),
  };
}
