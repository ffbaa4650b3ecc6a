import type { Readable, Writable } from 'node:stream';
import type { KubernetesError } from './kubernetes-error.js';
import type { AccessReview, KubernetesObject, ResourceRef } from './resources.js';

/**
 * One Kubernetes cluster, as one user of it sees it: the part of its API that runtimes need. Made by {@link Clusters}.
 *
 * Everything here rejects with a {@link KubernetesError}, or with `signal.reason` once aborted. Calls end after 25 s.
 */
export interface Cluster {
  /** Where its API server is, for messages. */
  readonly server: string;
  /** The pod that this process runs in, when the configuration is that of a pod. */
  readonly pod: { readonly namespace: string; readonly name: string } | undefined;
  get<T extends KubernetesObject>(ref: ResourceRef, options?: CallOptions): Promise<T>;
  list<T extends KubernetesObject>(ref: ResourceRef, options?: ListOptions): Promise<readonly T[]>;
  /** A connection that breaks may leave it made: give it a name of its own, and take `conflict` for "made before". */
  create<T extends KubernetesObject>(ref: ResourceRef, body: object, options?: CallOptions): Promise<T>;
  /** Changes the fields that `body` holds. */
  patch<T extends KubernetesObject>(ref: ResourceRef, body: object, options?: CallOptions): Promise<T>;
  /** Deletes; an object that is not there is `not-found`. */
  delete(ref: ResourceRef, options?: DeleteOptions): Promise<void>;
  /** The text of a subresource such as `log`. */
  text(ref: ResourceRef, options?: CallOptions): Promise<string>;
  /** Hands over the text of a subresource piece by piece, however long it is; what has come stays when it rejects. */
  textInPieces(ref: ResourceRef, onPiece: (piece: Buffer) => void, options?: CallOptions): Promise<void>;
  /** Asks the API server whether this user may. */
  allows(review: AccessReview, options?: CallOptions): Promise<{ readonly allowed: boolean; readonly reason: string }>;
  /** Lists, then follows what changes, through lost connections, until it is closed. */
  watch<T extends KubernetesObject>(ref: ResourceRef, options: WatchOptions<T>): Watch;
  /** Opens a WebSocket on a subresource: `attach`, `portforward`. */
  connect(ref: ResourceRef, options: ConnectOptions): Promise<ChannelSocket>;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly query?: Readonly<Record<string, string | readonly string[]>> | undefined;
  /** Asked a second time, as a kept connection broke: the first may come about all the same, later. */
  repeated?(): void;
}

export interface ListOptions extends CallOptions {
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

export interface DeleteOptions extends CallOptions {
  /** Without it the API server leaves the pods of a Job behind. */
  readonly propagationPolicy?: 'Background' | 'Foreground' | 'Orphan' | undefined;
  /** Delete only the object with this uid: one of the same name that was made since is a `conflict`. */
  readonly uid?: string | undefined;
  /** Delete it only as it was then: one that has changed since is a `conflict`. */
  readonly resourceVersion?: string | undefined;
}

export interface WatchOptions<T> {
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  /** All there is, by name: after the first list, and after each change. */
  changed(items: ReadonlyMap<string, T>): void;
  /** The watch has ended for good: not allowed, or no such resource. */
  failed(error: KubernetesError): void;
  /** A connection was lost, or could not be made: tried again with growing pauses of up to 10 s. */
  trouble?(error: KubernetesError): void;
  /** Nobody waits for it: does not keep the process alive. */
  readonly background?: boolean | undefined;
}

export interface Watch {
  close(): void;
}

export interface ConnectOptions extends CallOptions {
  /** Subprotocols, the preferred one first: `v5.channel.k8s.io`, `v4.channel.k8s.io`. */
  readonly protocols: readonly string[];
  /** Channels that the other side writes to. */
  readonly incoming: readonly number[];
}

/** A WebSocket that carries several byte streams: each message is a channel's number and then its bytes. */
export interface ChannelSocket {
  /** The subprotocol that was agreed on. */
  readonly protocol: string;
  /**
   * What comes on an incoming channel. When nobody reads one of them, the whole connection waits. Ends with the connection.
   */
  readable(channel: number): Readable;
  /**
   * Where bytes for a channel go; `write` calls back when the system has taken them. `end` closes the channel where the
   * protocol can (v5); before that only {@link close} tells the other side.
   */
  writable(channel: number): Writable;
  /** Settles once the connection is gone: with why it was lost, or undefined when one side closed it. Never rejects. */
  readonly closed: Promise<KubernetesError | undefined>;
  /** Closes the connection; resolves when it is gone, after 2 s at most. May be called twice. */
  close(): Promise<void>;
}
