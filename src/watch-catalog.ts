import { readlink, realpath } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import * as v from 'valibot';
import type { Catalog } from './catalog/catalog.js';
import { fetchText } from './catalog/fetch-catalog.js';
import { type LoadCatalogOptions, loadCatalog, parseFetched, toFile, toHttpUrl } from './catalog/load-catalog.js';
import { checkArgument, checkOptions, isFunction } from './checks/check-options.js';
import * as kinds from './checks/option-kinds.js';
import { GatewayError } from './errors.js';
import type { Gateway, ReloadResult } from './gateway-api.js';
import type { GatewayCatalog } from './gateway-catalog.js';
import { type Clock, systemClock } from './options.js';
import type { RuntimeFactory } from './runtime.js';
import { abortable } from './util/abort.js';
import { once } from './util/once.js';
import { tell } from './util/tell.js';
import { textOf } from './util/text-of.js';

/** What a watcher has done. */
export type WatchEvent =
  /**
   * Another catalog is in force, or what was bad is good again: then everything may be `unchanged`. `error` says which
   * servers of the old one could not be stopped, if any.
   */
  | { readonly type: 'reloaded'; readonly result: ReloadResult; readonly error?: Error; readonly at: number }
  /**
   * The catalog could not be read or is not valid, and the old one stays. `error.issues` holds every problem, with line and
   * column. Told once for each way in which it is bad.
   */
  | { readonly type: 'reload-failed'; readonly error: GatewayError; readonly at: number };

/** Settings of `watchCatalog`. */
export interface WatchCatalogOptions<Runtime extends RuntimeFactory = never>
  extends Pick<LoadCatalogOptions, 'headers'> {
  /**
   * Changes what was read before it is taken over, such as entries of the host's own. For the compiler to read entries with a
   * runtime of the host's own here, name it: `watchCatalog<MyRuntime>(file, gateway, { map })`.
   *
   * @default as it was read
   */
  readonly map?:
    | ((catalog: Catalog) => GatewayCatalog<readonly Runtime[]> | Promise<GatewayCatalog<readonly Runtime[]>>)
    | undefined;
  /** Told of each reload. What it throws is ignored. */
  readonly onEvent?: ((event: WatchEvent) => void) | undefined;
  /** How long a file must have been left alone before it is read, in milliseconds. @default 100 */
  readonly debounceMs?: number | undefined;
  /** How long a file that is changed all the time is waited for at most, in milliseconds. @default 2000 */
  readonly maxWaitMs?: number | undefined;
  /**
   * How often a URL is asked, in milliseconds. Files are looked at as often, for file systems that tell of no changes.
   *
   * @default 30_000
   */
  readonly intervalMs?: number | undefined;
  /** As for `reload`. @default 5000 */
  readonly graceMs?: number | undefined;
  /** Time, for tests. @default the real time */
  readonly clock?: Clock | undefined;
}

const watchOptions = v.strictObject({
  headers: kinds.texts,
  map: kinds.optionalFunction,
  onEvent: kinds.optionalFunction,
  debounceMs: kinds.duration,
  maxWaitMs: kinds.duration,
  // Without a pause it would be asked all the time.
  intervalMs: kinds.durationFrom(1),
  graceMs: kinds.duration,
  clock: kinds.clock,
} satisfies kinds.Schemas<WatchCatalogOptions>);

/** Watches a catalog until it is closed. Keeps no process alive. */
export interface CatalogWatcher extends AsyncDisposable {
  /** Resolves when changes are seen and what was there at the start is in force, or was found to be bad. */
  readonly ready: Promise<void>;
  /** Ends the watch; a reload that is under way comes to its end. */
  close(): Promise<void>;
}

/**
 * Reloads a gateway whenever its catalog changes. A file may be written in place, in several steps, or replaced: by a rename,
 * or with the folder that a symbolic link leads to, as Kubernetes does with a mounted ConfigMap. A URL is asked now and then.
 * A catalog that is bad changes nothing.
 *
 * @throws `GatewayError` `CATALOG_INVALID` for a URL that is none, or whose kind is not loaded; `OPTION_INVALID`
 */
export function watchCatalog<Runtime extends RuntimeFactory = never>(
  path: string | URL,
  gateway: Gateway<Runtime> | Pick<Gateway<Runtime>, 'reload'>,
  options: WatchCatalogOptions<Runtime> = {},
): CatalogWatcher {
  const isGateway = isFunction(Object(gateway).reload);
  checkArgument('watchCatalog', isGateway, 'the second argument must be a gateway', gateway);
  checkOptions('watchCatalog', watchOptions, options);
  const url = toHttpUrl(path);
  const source = url === undefined ? fileSource(path) : urlSource(url, options);
  const watch = new Watch(source, gateway, options);
  return { ready: watch.ready, close: watch.close, [Symbol.asyncDispose]: watch.close };
}

/** Where a catalog comes from. */
interface Source {
  /** @returns undefined when it is what it was the last time */
  read(signal: AbortSignal): Promise<Catalog | undefined>;
  /** What was read last is not in force: it is read again, even if it stays what it is. */
  forget?(): void;
  /** Calls back when it may have changed; resolves when it would. */
  listen?(onChange: () => void): Promise<() => Promise<void>>;
}

function urlSource(url: URL, { headers }: Pick<WatchCatalogOptions, 'headers'>): Source {
  let etag: string | undefined;
  return {
    async read(signal) {
      const fetched = await fetchText(url, { headers, signal }, etag);
      if (fetched === undefined) {
        return undefined;
      }
      const catalog = await parseFetched(url, fetched, {});
      etag = fetched.etag;
      return catalog;
    },
    forget() {
      etag = undefined;
    },
  };
}

function fileSource(path: string | URL): Source {
  const file = toFile(path);
  const folder = dirname(file);
  // Kubernetes replaces the link ..data, through which the links to the files lead.
  const names = new Set([basename(file), '..data']);
  return {
    read: () => loadCatalog(file),
    async listen(onChange) {
      const { watch } = await import('chokidar');
      // What stands in a folder that is a link is watched in the other one alone.
      const target = readlink(folder).then(() => realpath(folder));
      const folders = new Set([folder, await target.catch(() => folder)]);
      const watcher = watch([...folders, file], {
        persistent: false,
        ignoreInitial: true,
        depth: 0,
        followSymlinks: false,
        ignored: (path) => {
          // It writes slashes on Windows too.
          const at = resolve(path);
          return !folders.has(at) && !(folders.has(dirname(at)) && names.has(basename(at)));
        },
      });
      watcher.on('all', onChange).on('error', onChange);
      // It is never ready where it could not look into a folder for want of descriptors.
      await new Promise<void>((resolve) => watcher.once('ready', resolve).once('error', () => resolve()));
      return () => watcher.close();
    },
  };
}

class Watch {
  readonly #source: Source;
  readonly #gateway: Pick<Gateway, 'reload'>;
  readonly #options: WatchCatalogOptions;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  readonly ready: Promise<void>;
  #stopListening: (() => Promise<void>) | undefined;
  #timer: unknown;
  #poll: unknown;
  /** When the first change came that is not read yet, as more may follow. */
  #waitingSince: number | undefined;
  #reading: Promise<void> | undefined;
  #again = false;
  #lastProblem: string | undefined;

  constructor(source: Source, gateway: Pick<Gateway, 'reload'>, options: WatchCatalogOptions) {
    this.#source = source;
    this.#gateway = gateway;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.ready = this.#start();
  }

  readonly close = once(async () => {
    this.#closing.abort(new GatewayError('GATEWAY_CLOSED', 'the watch of the catalog is closed'));
    this.#clock.clearTimeout(this.#timer);
    this.#clock.clearTimeout(this.#poll);
    await this.ready;
    await Promise.all([this.#stopListening?.(), this.#reading]);
  });

  async #start(): Promise<void> {
    try {
      this.#stopListening = await this.#source.listen?.(() => this.#changed());
    } catch (error) {
      // It is read now and then all the same.
      this.#tell({ type: 'reload-failed', error: toGatewayError(error), at: this.#clock.date() });
    }
    await this.#read();
  }

  #changed(): void {
    if (this.#closing.signal.aborted) {
      return;
    }
    const { debounceMs = 100, maxWaitMs = 2_000 } = this.#options;
    const now = this.#clock.now();
    this.#waitingSince ??= now;
    const wait = Math.max(0, Math.min(debounceMs, this.#waitingSince + maxWaitMs - now));
    this.#clock.clearTimeout(this.#timer);
    this.#timer = this.#clock.setTimeout(() => {
      this.#waitingSince = undefined;
      void this.#read();
    }, wait);
  }

  /** It may be half written: it is read once it has been left alone. */
  get #isBeingWritten(): boolean {
    return this.#waitingSince !== undefined;
  }

  /** One at a time: what changes meanwhile is read afterwards. */
  #read(): Promise<void> {
    if (this.#reading !== undefined) {
      this.#again = true;
      return this.#reading;
    }
    this.#reading = this.#readAll().finally(() => {
      this.#reading = undefined;
      this.#schedule();
    });
    return this.#reading;
  }

  async #readAll(): Promise<void> {
    do {
      this.#again = false;
      if (!this.#closing.signal.aborted) {
        await this.#reload();
      }
    } while (this.#again && !this.#isBeingWritten && !this.#closing.signal.aborted);
  }

  #schedule(): void {
    this.#clock.clearTimeout(this.#poll);
    if (!this.#closing.signal.aborted) {
      const look = () => this.#isBeingWritten || void this.#read();
      this.#poll = this.#clock.setTimeout(look, this.#options.intervalMs ?? 30_000);
    }
  }

  async #reload(): Promise<void> {
    const { map = (catalog) => catalog, graceMs } = this.#options;
    const { signal } = this.#closing;
    try {
      const catalog = await this.#source.read(signal);
      if (catalog === undefined || signal.aborted) {
        return;
      }
      // The host may take for ever.
      const mapped = await abortable((async () => map(catalog))(), signal);
      const { result, error } = await this.#takeOver(mapped, graceMs);
      const wasBad = this.#lastProblem !== undefined;
      this.#lastProblem = undefined;
      if (wasBad || result.added.length + result.removed.length + result.changed.length > 0) {
        this.#tell({ type: 'reloaded', result, ...(error && { error }), at: this.#clock.date() });
      }
    } catch (error) {
      this.#source.forget?.();
      const problem = textOf(error);
      if (!signal.aborted && this.#lastProblem !== problem) {
        this.#lastProblem = problem;
        this.#tell({ type: 'reload-failed', error: toGatewayError(error), at: this.#clock.date() });
      }
    }
  }

  async #takeOver(
    catalog: GatewayCatalog,
    graceMs: number | undefined,
  ): Promise<{ result: ReloadResult; error?: Error }> {
    try {
      return { result: await this.#gateway.reload(catalog, { graceMs }) };
    } catch (error) {
      // In force all the same, when it was only that an old server could not be stopped.
      if (error instanceof AggregateError && 'result' in error) {
        return { result: error.result as ReloadResult, error };
      }
      throw error;
    }
  }

  #tell(event: WatchEvent): void {
    tell(() => this.#options.onEvent?.(event));
  }
}

function toGatewayError(error: unknown): GatewayError {
  return GatewayError.is(error) ? error : new GatewayError('CATALOG_INVALID', textOf(error), { cause: error });
}
