import { constants } from 'node:fs';
import { access, open, stat } from 'node:fs/promises';
import { delimiter, isAbsolute, join, resolve } from 'node:path';

/** Where a command was found, or why it cannot run, in a sentence that says how to mend it. */
export type FoundCommand = { readonly file: string } | { readonly problem: string };

/**
 * Finds out what would run, as the operating system would: a bare name is looked up in `path`, the child's own PATH; a
 * name with a slash is taken relative to `baseDir`. Tells a missing command, a missing directory, a file that may not be
 * executed and a missing interpreter apart, which the system itself reports as one and the same error.
 */
export async function findCommand(
  command: string,
  workingDir: string,
  baseDir: string,
  path: string,
): Promise<FoundCommand> {
  const directory = await stat(workingDir).catch(() => undefined);
  if (directory === undefined) {
    return { problem: `the working directory ${workingDir} does not exist; create it or change working_dir` };
  }
  if (!directory.isDirectory()) {
    return { problem: `the working directory ${workingDir} is not a directory; change working_dir` };
  }
  const file = command.includes('/') ? resolve(baseDir, command) : await searchPath(command, path, workingDir);
  if (file === undefined) {
    const where = path === '' ? 'PATH is empty' : `PATH is ${path}`;
    return { problem: `command "${command}" was not found; install it or give its path in command (${where})` };
  }
  const found = await stat(file).catch(() => undefined);
  if (found === undefined) {
    return { problem: `command ${file} does not exist; install it or change command` };
  }
  if (found.isDirectory()) {
    return { problem: `command ${file} is a directory, not a program; change command` };
  }
  if (!(await isExecutable(file))) {
    return { problem: `command ${file} is not executable; run chmod +x on it` };
  }
  const interpreter = await missingInterpreter(file);
  return interpreter === undefined
    ? { file }
    : {
        problem: `command ${file} needs the interpreter ${interpreter} of its first line, which does not exist; install it`,
      };
}

async function searchPath(command: string, path: string, workingDir: string): Promise<string | undefined> {
  let forbidden: string | undefined;
  for (const folder of path.split(delimiter)) {
    // An empty or relative part of PATH means the child's own working directory.
    const file = join(isAbsolute(folder) ? folder : resolve(workingDir, folder), command);
    const found = await stat(file).catch(() => undefined);
    if (path !== '' && found?.isFile() === true) {
      if (await isExecutable(file)) {
        return file;
      }
      forbidden ??= file;
    }
  }
  return forbidden;
}

function isExecutable(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function missingInterpreter(file: string): Promise<string | undefined> {
  const handle = await open(file).catch(() => undefined);
  if (handle === undefined) {
    return undefined;
  }
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(256), 0, 256, 0);
    const interpreter = /^#![ \t]*(\S+)/.exec(buffer.toString('latin1', 0, bytesRead))?.[1];
    return interpreter === undefined || (await isExecutable(interpreter)) ? undefined : interpreter;
  } catch {
    return undefined;
  } finally {
    await handle.close();
  }
}
