import { accessSync, closeSync, constants, openSync, readSync, type Stats, statSync } from 'node:fs';
import { basename, delimiter, isAbsolute, join, resolve } from 'node:path';

/** Where a command was found, or why it cannot run, in a sentence that says how to mend it. */
export type FoundCommand = { readonly file: string } | { readonly problem: string };

/**
 * Finds out what would run, as the operating system would: a bare name is looked up in `path`, the child's own PATH; a
 * name with a slash is taken relative to `baseDir`. Tells a missing command, a missing directory, a file that may not be
 * executed and a missing interpreter apart, which the system itself reports as one and the same error.
 *
 * Waits for the file system: the start that follows looks at the same files and waits for it too, and the way through other
 * threads would take more time than all of this.
 */
export function findCommand(command: string, workingDir: string, baseDir: string, path: string): FoundCommand {
  const problem = findDirectoryProblem(workingDir);
  if (problem !== undefined) {
    return { problem };
  }
  const file = command.includes('/') ? resolve(baseDir, command) : searchPath(command, path, workingDir);
  if (file === undefined) {
    const remedy = /\S\s/.test(command) ? 'arguments go into args' : 'install it or give its path in command';
    return {
      problem: `command "${printable(command)}" was not found; ${remedy} (${searched(command, path, workingDir)})`,
    };
  }
  const found = look(file);
  if (found === undefined) {
    const hint = /\s/.test(command) ? ', arguments go into args' : '';
    return { problem: `command ${file} does not exist; install it or change command${hint}` };
  }
  if (typeof found === 'string') {
    return { problem: `command ${file} ${hidden(found)}change command` };
  }
  if (found.isDirectory()) {
    return { problem: `command ${file} is a directory, not a program; change command` };
  }
  if (!isExecutable(file)) {
    return { problem: `command ${file} is not executable; run chmod +x on it` };
  }
  // To open a named pipe would wait for whoever writes into it.
  const interpreter = found.isFile() ? missingInterpreter(file, workingDir, path) : undefined;
  if (interpreter === undefined) {
    return { file };
  }
  return interpreter.endsWith('\r')
    ? { problem: `the first line of command ${file} ends with a carriage return; save the file with LF line ends` }
    : {
        problem: `command ${file} needs the interpreter ${interpreter} of its first line, which was not found; install it`,
      };
}

/** Why nothing can run in a directory, in a sentence that says how to mend it; undefined when something can. */
export function findDirectoryProblem(path: string): string | undefined {
  const directory = look(path);
  if (directory === undefined) {
    return `the working directory ${path} does not exist; create it or change working_dir`;
  }
  if (typeof directory === 'string') {
    return `the working directory ${path} ${hidden(directory)}change working_dir`;
  }
  if (!directory.isDirectory()) {
    return `the working directory ${path} is not a directory; change working_dir`;
  }
  return isExecutable(path)
    ? undefined
    : `the working directory ${path} may not be entered; change its rights or working_dir`;
}

// A message must not carry control characters into somebody's terminal.
function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, '\ufffd');
}

function searchPath(command: string, path: string, workingDir: string): string | undefined {
  let forbidden: string | undefined;
  for (const folder of path.split(delimiter)) {
    // An empty or relative part of PATH means the child's own working directory.
    const file = join(isAbsolute(folder) ? folder : resolve(workingDir, folder), command);
    const found = path === '' ? undefined : look(file);
    if (typeof found === 'object' && found.isFile()) {
      if (isExecutable(file)) {
        return file;
      }
      forbidden ??= file;
    }
  }
  return forbidden;
}

/** Where a command was looked for in vain. */
function searched(command: string, path: string, workingDir: string): string {
  if (path === '') {
    return 'its PATH is empty';
  }
  const folders = path.split(delimiter).map((folder) => look(join(resolve(workingDir, folder), command)));
  const unseen = folders.filter((found) => typeof found === 'string');
  const which = unseen.length === 0 ? '' : `, ${unseen.length} of which cannot be looked into: ${unseen[0]}`;
  return `its PATH has ${folders.length} folders${which}`;
}

/** What stands at a path; undefined when nothing does, and the code of the system when it does not tell. */
function look(path: string): Stats | string | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown error';
  }
}

/** Why nobody can tell whether something is there: the beginning of what to do about it. */
function hidden(code: string): string {
  const remedy = code === 'EACCES' ? ': a folder above it may not be entered; change its rights, or ' : '; ';
  return `cannot be looked at (${code})${remedy}`;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The program that a script's first line names, when it is not there; for `env NAME` the one that env would look up. */
function missingInterpreter(file: string, workingDir: string, path: string): string | undefined {
  const line = firstLine(file);
  const [, interpreter, rest = ''] = /^#![ \t]*([^ \t\n]+)([^\n]*)/.exec(line) ?? [];
  if (interpreter === undefined) {
    return undefined;
  }
  if (!isExecutable(resolve(workingDir, interpreter))) {
    return interpreter;
  }
  if (basename(interpreter) !== 'env') {
    return undefined;
  }
  const [name] = rest
    .replace(/^[ \t]+/, '')
    .replace(/^-S[ \t]*/, '')
    .split(/[ \t]+/);
  // Options and assignments are for env to understand.
  if (name === undefined || !/^[\w.+-]+\r?$/.test(name) || name.startsWith('-')) {
    return undefined;
  }
  return searchPath(name, path, workingDir) === undefined ? name : undefined;
}

function firstLine(file: string): string {
  let handle: number | undefined;
  try {
    handle = openSync(file, 'r');
    const buffer = Buffer.alloc(256);
    return buffer.toString('latin1', 0, readSync(handle, buffer, 0, buffer.length, 0));
  } catch {
    return '';
  } finally {
    if (handle !== undefined) closeSync(handle);
  }
}
