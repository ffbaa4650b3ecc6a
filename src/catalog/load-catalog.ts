import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { checkOptions } from '../checks/check-options.js';
import { kindOf } from '../checks/describe-issue.js';
import * as kinds from '../checks/option-kinds.js';
import { GatewayError } from '../errors.js';
import type { Catalog, Environment } from './catalog.js';
import { largestText } from './decode.js';
import { type FetchedText, fetchText, toShown } from './fetch-catalog.js';
import { catalogError } from './issues.js';
import { parse } from './parse-catalog.js';

/** How `loadCatalog` reads a file, or fetches a URL. */
export interface LoadCatalogOptions {
  /**
   * Also reports variables that are not set here. Nothing is replaced: `createGateway` does that, with its own `env`.
   */
  readonly env?: Environment | undefined;
  /** Sent with the request, when it is fetched from a URL: a token for example. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Ends the fetching of a URL. */
  readonly signal?: AbortSignal | undefined;
}

const loadOptions = v.strictObject({
  env: kinds.environment,
  headers: kinds.texts,
  signal: kinds.signal,
} satisfies kinds.Schemas<LoadCatalogOptions>);

/**
 * Reads a catalog from a file or a URL: JSON when its name ends in `.json`, or when that is what the server of the URL
 * says, otherwise YAML. Relative paths in it are resolved against the file's folder; for a URL, against the working
 * directory.
 *
 * A URL is fetched over https, or over http from this machine; what may pass is tried again twice, redirects are not
 * followed.
 *
 * @param path - a path, or a `file:`, `https:` or `http:` URL
 * @throws `GatewayError` `CATALOG_INVALID` that lists every problem in `issues`, with line and column; `OPTION_INVALID`;
 * for a URL `signal.reason` once aborted
 */
export async function loadCatalog(path: string | URL, options: LoadCatalogOptions = {}): Promise<Catalog> {
  checkOptions('loadCatalog', loadOptions, options);
  const url = toHttpUrl(path);
  if (url !== undefined) {
    return parseFetched(url, (await fetchText(url, options)) as FetchedText, options);
  }
  const file = toFile(path);
  const bytes = await readFile(file);
  const format = /\.json$/i.test(file) ? 'json' : 'yaml';
  return parse(bytes, { format, env: options.env }, { name: file, folder: dirname(file) });
}

/** @internal The URL, for what is fetched over HTTP. */
export function toHttpUrl(path: string | URL): URL | undefined {
  const text = String(path);
  return /^https?:\/\//i.test(text) && URL.canParse(text) ? new URL(text) : undefined;
}

/** @internal */
export function parseFetched(
  url: URL,
  { bytes, format }: FetchedText,
  { env }: Pick<LoadCatalogOptions, 'env'>,
): Promise<Catalog> {
  return parse(bytes, { format, env }, { name: toShown(url) });
}

/** @internal The path, for what is read from a file. */
export function toFile(path: string | URL): string {
  if (typeof path !== 'string' && typeof Object(path).href !== 'string') {
    // As a text it would be the name of a file that nobody meant: of an environment variable that is not set, "undefined".
    throw catalogError([{ path: '', message: `the path of a catalog is ${kindOf(path)}, not a string or a URL` }]);
  }
  const text = String(path);
  if (text.includes('\0')) {
    throw catalogError([{ path: '', message: 'the path of a catalog holds a NUL character' }]);
  }
  if (typeof path === 'string' && !/^[A-Za-z][A-Za-z0-9+.-]+:\/\//.test(text)) {
    return resolve(text);
  }
  // The URL itself may hold a password.
  try {
    const url = new URL(text);
    if (url.protocol === 'file:') {
      return fileURLToPath(url);
    }
    const message = `catalogs are not loaded over ${url.protocol.slice(0, -1)}: fetch it, and use parseCatalog`;
    throw catalogError([{ path: '', message }]);
  } catch (error) {
    throw GatewayError.is(error)
      ? error
      : catalogError([{ path: '', message: 'the URL of a catalog is not valid' }], undefined, error);
  }
}

async function readFile(file: string): Promise<Uint8Array> {
  let handle: FileHandle | undefined;
  try {
    // A named pipe would otherwise block until somebody writes.
    handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    if (!(await handle.stat()).isFile()) {
      throw catalogError([{ path: '', message: 'cannot be read: it is not a file' }], file);
    }
    // One byte more than allowed is enough to tell that it is too large, however large it is or becomes.
    const buffer = Buffer.alloc(largestText + 1);
    let length = 0;
    for (let read = -1; read !== 0 && length < buffer.length; length += read) {
      read = (await handle.read(buffer, length, buffer.length - length, length)).bytesRead;
    }
    if (length > largestText) {
      throw catalogError([{ path: '', message: 'is larger than 1 MiB: split it' }], file);
    }
    return buffer.subarray(0, length);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined || code === 'CATALOG_INVALID') {
      throw error;
    }
    throw catalogError([{ path: '', message: `cannot be read: ${reasons[code] ?? code}` }], file, error);
  } finally {
    await handle?.close();
  }
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'a part of its path is not a folder',
  EISDIR: 'it is a folder',
  EACCES: 'permission is denied',
  EPERM: 'permission is denied',
};
