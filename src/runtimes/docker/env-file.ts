import { readFile } from 'node:fs/promises';

const maxBytes = 1024 * 1024;

/** A file of variables that cannot be used, in a sentence that names the line and never a value. */
export class EnvFileError extends Error {}

/**
 * Reads a file of variables by the rules of `docker run --env-file`: `NAME=value` a line, the value as it stands (quotes,
 * spaces and `#` included); a bare `NAME` takes its value from `host`, and is left out when there is none; blank lines and
 * lines that begin with `#` do not count. There is no `export` and no `${…}`.
 *
 * @throws {@link EnvFileError}
 */
export async function readEnvFile(
  file: string,
  host: Readonly<Record<string, string | undefined>>,
): Promise<Record<string, string>> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    const why = code === 'ENOENT' ? 'does not exist; create it or change env_file' : `cannot be read (${code})`;
    throw new EnvFileError(`the env_file ${file} ${why}`);
  }
  if (bytes.length > maxBytes) {
    throw new EnvFileError(`the env_file ${file} has more than ${maxBytes} bytes`);
  }
  return parseEnvFile(bytes, file, host);
}

/** As {@link readEnvFile}, from the bytes of the file. */
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
