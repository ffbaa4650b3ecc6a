import type { Clock } from '../../../options.js';
import { LineBuffer } from '../../../transport/line-buffer.js';
import { eitherSignal } from '../../../util/abort.js';
import { isFields } from '../../../util/fields.js';
import type { Watch, WatchOptions } from './cluster.js';
import type { Connection } from './connection.js';
import { answerError, flawError, foreignError, isFailure, KubernetesError, networkError } from './kubernetes-error.js';
import { callForObject, isList, isObject, parseObject, pause, startRequest } from './request.js';
import type { KubernetesObject, ResourceRef } from './resources.js';
import { findFlaw } from './shapes.js';

/** How long the API server keeps one watch open; afterwards we ask again. */
const periodSeconds = 300;
const firstPauseMs = 250;
const longestPauseMs = 10_000;
const maxEventBytes = 8 * 1024 * 1024;
/**
 * How long what worked before may be refused until it counts: an API server that comes up knows no rights for a moment, and a
 * plugin that renews credentials may fail once.
 */
const refusalMs = 60_000;

interface WatchEvent<T> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: T & { readonly code?: number };
}

/** Keeps a set of objects as the API server has it: lists them, then follows each change. */
export function startWatch<T extends KubernetesObject>(
  connection: Connection,
  ref: ResourceRef,
  options: WatchOptions<T>,
  clock: Clock,
): Watch {
  const reflector = new Reflector(connection, ref, options, clock);
  void reflector.run();
  return reflector;
}

class Reflector<T extends KubernetesObject> implements Watch {
  readonly #connection: Connection;
  readonly #ref: ResourceRef;
  readonly #options: WatchOptions<T>;
  readonly #clock: Clock;
  readonly #closed = new AbortController();
  readonly #items = new Map<string, T>();
  /** From where on changes are wanted; undefined when all must be listed anew. */
  #version: string | undefined;
  #pauseMs = firstPauseMs;
  #everFollowed = false;
  #isTroubled = false;
  /** Since when it has been refused again. */
  #refusedAt: number | undefined;

  constructor(connection: Connection, ref: ResourceRef, options: WatchOptions<T>, clock: Clock) {
    this.#connection = connection;
    this.#ref = ref;
    this.#options = options;
    this.#clock = clock;
  }

  close(): void {
    this.#closed.abort();
  }

  async run(): Promise<void> {
    const { signal } = this.#closed;
    while (!signal.aborted) {
      try {
        if (this.#version === undefined) await this.#list();
        await this.#follow();
        // Not at once: a proxy may end every watch as soon as it has begun.
        await pause(firstPauseMs, signal, this.#clock);
      } catch (thrown) {
        if (signal.aborted) return;
        const error = thrown instanceof KubernetesError ? thrown : networkError(thrown, this.#connection.server);
        const isRefused = isFailure(error, 'forbidden', 'not-found', 'invalid', 'unauthorized') && !this.#mayPass();
        // A proxy that wants a login before anything was seen would be asked for as long as somebody waits.
        if (isRefused || (isFailure(error, 'foreign') && !this.#everFollowed)) {
          this.close();
          this.#options.failed(error);
          return;
        }
        // Whatever was refused, the version may be why: one from before a restore of the API server's data is a time-out to it.
        if (error.status !== undefined && error.status !== 429) this.#version = undefined;
        this.#isTroubled = true;
        if (!isFailure(error, 'gone')) this.#options.trouble?.(error);
        await pause(this.#pauseMs * (0.5 + Math.random() / 2), signal, this.#clock).catch(() => {});
        this.#pauseMs = Math.min(this.#pauseMs * 2, longestPauseMs);
      }
    }
  }

  #mayPass(): boolean {
    const now = this.#clock.now();
    this.#refusedAt ??= now;
    return this.#everFollowed && now - this.#refusedAt < refusalMs;
  }

  async #list(): Promise<void> {
    const { signal } = this.#closed;
    const { items, metadata } = await callForObject<{
      readonly items: readonly T[] | null;
      readonly metadata: { readonly resourceVersion: string };
    }>(
      this.#connection,
      this.#ref,
      { method: 'GET', verb: 'list', query: this.#query({}), signal },
      this.#clock,
      isList,
    );
    if (signal.aborted) return;
    this.#items.clear();
    for (const item of items ?? []) this.#items.set(item.metadata.name, item);
    this.#version = metadata.resourceVersion;
    this.#options.changed(this.#items);
  }

  /** Reads changes until the connection ends. */
  async #follow(): Promise<void> {
    const period = new AbortController();
    // A connection whose far end is gone may stay silent for ever.
    const timer = this.#clock.setTimeout(() => period.abort(), (periodSeconds + 30) * 1000);
    const { signal, release } = eitherSignal(this.#closed.signal, period.signal);
    let begun = Number.POSITIVE_INFINITY;
    const query = this.#query({
      watch: 'true',
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(periodSeconds),
      resourceVersion: this.#version ?? '',
    });
    try {
      const request = { method: 'GET', verb: 'watch', query, signal } as const;
      const answer = await startRequest(this.#connection, this.#ref, request, this.#clock);
      begun = this.#clock.now();
      this.#everFollowed = true;
      // What there is stands again, though nothing may have changed.
      if (this.#isTroubled) this.#options.changed(this.#items);
      this.#isTroubled = false;
      this.#refusedAt = undefined;
      if (this.#options.background) answer.socket.unref();
      const lines = new LineBuffer(maxEventBytes);
      try {
        for await (const chunk of answer as AsyncIterable<Buffer>) {
          lines.feed(chunk);
          for (let line = lines.next(); line !== undefined; line = lines.next()) {
            if (signal.aborted) return;
            if (line.trim() !== '') this.#apply(this.#read(line));
          }
          if (lines.overflow) throw new Error(`an event has more than ${maxEventBytes} bytes`);
        }
      } catch (cause) {
        throw cause instanceof KubernetesError ? cause : networkError(cause, this.#connection.server);
      }
    } finally {
      release();
      this.#clock.clearTimeout(timer);
      // What held for a while is no failure upon a failure, though there was nothing to tell.
      if (this.#clock.now() - begun > longestPauseMs) this.#pauseMs = firstPauseMs;
    }
  }

  #read(line: string): WatchEvent<T> {
    const { server } = this.#connection;
    const event = parseObject(line);
    const object = event?.object;
    if (!isFields(object) || !(event?.type === 'ERROR' || isObject(object))) {
      throw foreignError(line, server, 'watch', this.#ref);
    }
    const flaw = event?.type === 'ERROR' ? undefined : findFlaw(object, this.#ref.resource);
    if (flaw !== undefined) throw flawError(flaw, server, 'watch', this.#ref);
    return event as unknown as WatchEvent<T>;
  }

  #apply({ type, object }: WatchEvent<T>): void {
    if (type === 'ERROR') {
      const status = object.code ?? 500;
      // Whatever it is, a fresh list mends it or says so.
      this.#version = undefined;
      throw answerError(status === 410 ? 410 : 500, JSON.stringify(object), 'watch', this.#ref);
    }
    this.#version = object.metadata.resourceVersion ?? this.#version;
    this.#pauseMs = firstPauseMs;
    if (type === 'BOOKMARK') return;
    if (type === 'DELETED') this.#items.delete(object.metadata.name);
    else this.#items.set(object.metadata.name, object);
    this.#options.changed(this.#items);
  }

  #query(more: Readonly<Record<string, string>>): Record<string, string> {
    const { labelSelector, fieldSelector } = this.#options;
    return {
      ...(labelSelector !== undefined && { labelSelector }),
      ...(fieldSelector !== undefined && { fieldSelector }),
      ...more,
    };
  }
}
