import { closeSync, constants, openSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { abortable } from '../../util/abort.js';

const maxBytes = 1024 * 1024;
const endTries = 40;
const endPauseMs = 50;

/** A file of variables that cannot be used, in a sentence that names the line and never a value. */
export class EnvFileError extends Error {}

interface Reading {
  readonly bytes: Promise<Buffer>;
  waiting: number;
}

/**
 * Reads files of variables. A file may be a named pipe, as programs for passwords make them: to read one holds one of the few
 * threads that all of the host's file access shares, until somebody writes. So those who come meanwhile wait for the same
 * reading, and it ends with the last who waits.
 */
export class EnvFiles {
  readonly #readings = new Map<string, Reading>();

  /**
   * Reads a file of variables by the rules of `docker run --env-file`: `NAME=value` a line, the value as it stands (quotes,
   * spaces and `#` included); a bare `NAME` takes its value from `host`, and is left out when there is none; blank lines and
   * lines that begin with `#` do not count. There is no `export` and no `${…}`.
   *
   * @throws {@link EnvFileError}; `signal.reason` once aborted
   */
  async read(
    file: string,
    host: Readonly<Record<string, string | undefined>>,
    signal: AbortSignal,
  ): Promise<Record<string, string>> {
    signal.throwIfAborted();
    const reading = this.#readings.get(file) ?? this.#begin(file);
    reading.waiting += 1;
    let bytes: Buffer;
    try {
      bytes = await abortable(reading.bytes, signal);
    } catch (error) {
      signal.throwIfAborted();
      const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
      const why = code === 'ENOENT' ? 'does not exist; create it or change env_file' : `cannot be read (${code})`;
      throw new EnvFileError(`the env_file ${file} ${why}`);
    } finally {
      reading.waiting -= 1;
      if (reading.waiting === 0 && this.#readings.get(file) === reading) {
        this.#end(file, reading);
      }
    }
    if (bytes.length > maxBytes) {
      throw new EnvFileError(`the env_file ${file} has more than ${maxBytes} bytes`);
    }
    if (bytes.length === 0 && isPipe(file)) {
      throw new EnvFileError(`the env_file ${file} is a pipe into which nothing was written`);
    }
    return parseEnvFile(bytes, file, host);
  }

  #begin(file: string): Reading {
    const bytes = readFile(file).finally(() => {
      if (this.#readings.get(file) === reading) this.#readings.delete(file);
    });
    const reading = { bytes, waiting: 0 };
    this.#readings.set(file, reading);
    return reading;
  }

  /** Again and again, for a while: the reading may not have got as far as to open the pipe. */
  #end(file: string, reading: Reading, tries = endTries): void {
    if (tries === 0 || reading.waiting > 0 || this.#readings.get(file) !== reading || !isPipe(file)) {
      return;
    }
    if (writeNothing(file)) {
      // It comes to its end with nothing, which is not for whoever comes now.
      this.#readings.delete(file);
    } else {
      setTimeout(() => this.#end(file, reading, tries - 1), endPauseMs).unref();
    }
  }
}

function isPipe(file: string): boolean {
  try {
    return statSync(file).isFIFO();
  } catch {
    return false;
  }
}

/** Who waits for somebody to open a pipe and write has come to its end then. @returns whether anybody has waited */
function writeNothing(pipe: string): boolean {
  try {
    closeSync(openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK));
    return true;
  } catch {
    // Nobody has opened it to read.
    return false;
  }
}

/** As {@link EnvFiles.read}, from the bytes of the file. */
export function parseEnvFile(
  bytes: Uint8Array,
  file: string,
  host: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const env: Record<string, string> = Object.create(null);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  for (const [index, line] of splitLines(bytes).entries()) {
    const fail = (what: string) => new EnvFileError(`the env_file ${file}, line ${index + 1}: ${what}`);
    let text: string;
    try {
      text = decoder.decode(line);
    } catch {
      throw fail('is not UTF-8');
    }
    text = text.trimStart();
    if (text === '' || text.startsWith('#')) {
      continue;
    }
    if (text.includes('\0')) {
      throw fail('holds a NUL character');
    }
    const equals = text.indexOf('=');
    const name = equals === -1 ? text : text.slice(0, equals);
    if (name === '') {
      throw fail('has no name before the "="');
    }
    if (/\s/.test(name)) {
      throw fail(
        name.startsWith('export ')
          ? 'begins with export, which is for shells; write NAME=value'
          : 'has a space in its name; write NAME=value',
      );
    }
    const value = equals === -1 ? host[name] : text.slice(equals + 1);
    if (value !== undefined) {
      env[name] = value;
    }
  }
  return { ...env };
}

function splitLines(bytes: Uint8Array): Uint8Array[] {
  const lines: Uint8Array[] = [];
  // A mark of the byte order stands at the start of files that Windows' editors write.
  let start = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  while (start < bytes.length) {
    const newline = bytes.indexOf(0x0a, start);
    const end = newline === -1 ? bytes.length : newline;
    lines.push(bytes.subarray(start, bytes[end - 1] === 0x0d && end > start ? end - 1 : end));
    start = end + 1;
  }
  return lines;
}
