import { randomBytes } from 'node:crypto';
import { CallerServer } from './caller-server.js';
import { DualPeer } from './endpoint/dual-peer.js';
import { Endpoint } from './endpoint/endpoint.js';
import type { EndpointServer } from './endpoint/endpoint-server.js';
import type { Interceptor } from './endpoint/intercept.js';
import { ModernPeer } from './endpoint/modern/modern-peer.js';
import type { RequestStates } from './endpoint/modern/request-states.js';
import type { Names } from './endpoint/names.js';
import type { PeerFactory } from './endpoint/peer.js';
import { SeenCallers } from './endpoint/seen-callers.js';
import type { SnapshotStore } from './endpoint/snapshot.js';
import type { EntryTable } from './entry-table.js';
import type { GatewayEvent } from './events.js';
import type { MergedOptions } from './gateway-api.js';
import type { Clock } from './options.js';
import type { Caller } from './runtime.js';
import { version } from './version.js';

export interface MergedPeersOptions {
  readonly entries: EntryTable;
  readonly names: Names;
  readonly snapshots: SnapshotStore;
  readonly states: RequestStates;
  readonly intercept: Interceptor | undefined;
  readonly clock: Clock;
  emit(event: GatewayEvent): void;
}

/** Makes the merged peers of a gateway, for callers of both eras, and keeps those with a session up with the catalog. */
export class MergedPeers {
  readonly #options: MergedPeersOptions;
  readonly #endpoints = new Map<Endpoint, MergedOptions>();
  readonly #callers = new SeenCallers();

  constructor(options: MergedPeersOptions) {
    this.#options = options;
  }

  /** For a transport whose caller may be of either era. @throws `GatewayError` `SERVER_UNKNOWN` */
  factory(options: MergedOptions): PeerFactory {
    this.check(options);
    const createSession = this.#sessionFactory(options, false);
    return (send) =>
      new DualPeer({ createSession, createModern: () => this.#createModern(options, createSession) }, send);
  }

  /** For stateless requests over HTTP. @throws `GatewayError` `SERVER_UNKNOWN` */
  createStateless(options: MergedOptions): ModernPeer {
    this.check(options);
    return this.#createModern(options, this.#sessionFactory(options, true));
  }

  /** Gives each session what it gets of the catalog as it is now. */
  update(): void {
    for (const [endpoint, options] of this.#endpoints) {
      endpoint.update(this.#select(options));
    }
  }

  #createModern(options: MergedOptions, createSession: PeerFactory<Endpoint>): ModernPeer {
    const { clock, states, intercept } = this.#options;
    const { caller = {}, servers, tags } = options;
    return new ModernPeer({
      clock,
      states,
      caller: callerKey(caller),
      isForAll: servers === undefined && tags === undefined && intercept === undefined,
      createSession,
    });
  }

  #sessionFactory(options: MergedOptions, overHttp: boolean): PeerFactory<Endpoint> {
    return (send) => {
      const { entries, names, snapshots, intercept, clock, emit } = this.#options;
      const { caller = {} } = options;
      // The host's own object may change.
      const { id, principal } = caller;
      const endpoint = new Endpoint({
        servers: this.#select(options),
        caller,
        seen: this.#callers.enter({ id, principal }),
        names,
        snapshots,
        intercept,
        clock,
        overHttp,
        version,
        // What a server lists may hold what it was started with.
        emit: (event) =>
          emit(event.type === 'uri-conflict' ? { ...event, uri: entries.redact(event.server, event.uri) } : event),
        onClosed: () => this.#endpoints.delete(endpoint) && this.#callers.leave({ id, principal }),
        send,
      });
      this.#endpoints.set(endpoint, options);
      return endpoint;
    };
  }

  #select({ caller = {}, servers, tags }: MergedOptions): EndpointServer[] {
    return this.#options.entries.all
      .filter(
        ({ definition: { id, enabled, tags: own } }) =>
          enabled &&
          (servers === undefined || servers.includes(id)) &&
          (tags === undefined || tags.some((tag) => own.includes(tag))),
      )
      .map((entry) => new CallerServer(entry, caller));
  }

  /** @throws `GatewayError` `SERVER_UNKNOWN` for an id in `servers` */
  check({ servers = [] }: MergedOptions): void {
    for (const id of servers) {
      this.#options.entries.get(id);
    }
  }
}

/** Tells callers apart; one whom nobody knows is like no other. */
export function callerKey({ id, principal }: Caller): string {
  return id === undefined && principal === undefined
    ? randomBytes(16).toString('hex')
    : JSON.stringify([id ?? null, principal ?? null]);
}
