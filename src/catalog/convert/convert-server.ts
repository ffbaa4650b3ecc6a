import { formatPath, type Path, quote } from '../../checks/path.js';
import { isPlainObject } from '../../util/fields.js';
import { didYouMean } from '../../util/suggest.js';
import type { ServerInput } from '../catalog.js';
import type { Issues } from '../issues.js';
import { convertVariables, holdsBareVariable } from './convert-variables.js';

/** An entry as `toCatalog` makes it. */
export type ConvertedServer = ServerInput<
  | { type: 'local-process'; command: string; args?: readonly string[]; working_dir?: string }
  | { type: 'remote-sse'; url: string; headers?: Readonly<Record<string, string>>; transport?: 'sse' }
>;

export interface ConvertContext {
  readonly name: string;
  readonly id: string;
  readonly path: Path;
  readonly issues: Issues;
  readonly variables: Readonly<Record<string, string>>;
  readonly onIgnored: (path: string, reason: string) => void;
}

const types = ['stdio', 'http', 'streamable-http', 'streamableHttp', 'sse'];
const urlKeys = ['url', 'serverUrl', 'httpUrl'];

// To leave these out would make another server of it.
const impossible: ReadonlyMap<string, string> = new Map([
  ['envFile', 'is not supported: put the variables into "env"'],
  ['headersHelper', 'is not supported: use the option headers() of RemoteSseRuntime'],
]);

const ignored: ReadonlyMap<string, string> = new Map([
  ['timeout', 'programs differ in its unit; set request_timeout in the catalog'],
  ['oauth', 'use the option authProvider of RemoteSseRuntime'],
]);

// Without the name: it may be a part of a password.
const bareVariable = 'holds "$NAME", which only some programs replace: write ${NAME} for the variable';

/** Converts one server; undefined when it is none. Adds what is wrong to the issues. */
export function convertServer(server: unknown, context: ConvertContext): ConvertedServer | undefined {
  const { name, id, path, issues } = context;
  if (!isPlainObject(server)) {
    issues.add(path, 'must be an object with "command" or "url"');
    return undefined;
  }
  const fields = new Fields(server, context);
  const runtime = readRuntime(fields, context);
  const description = fields.text('description');
  const env = fields.texts('env');
  const enabled = fields.flag('disabled') !== true && fields.flag('enabled') !== false;
  const allow = fields.names('enabledTools') ?? fields.names('includeTools');
  const deny = fields.names('disabledTools') ?? fields.names('excludeTools');
  fields.reportRest();
  return (
    runtime && {
      id,
      ...(name !== id && name !== '' && { display_name: name }),
      ...(description && { description }),
      ...(runtime.type === 'local-process' && env && { env }),
      ...(!enabled && { enabled }),
      ...((allow || deny) && { tools: { ...(allow && { allow }), ...(deny && { deny }) } }),
      runtime,
    }
  );
}

function readRuntime(fields: Fields, { path, issues }: ConvertContext): ConvertedServer['runtime'] | undefined {
  const named = fields.text('type');
  const type = named ?? fields.text('transport');
  if (type !== undefined && !types.includes(type)) {
    issues.add(
      [...path, named === undefined ? 'transport' : 'type'],
      `is ${quote(type)}, which is not supported${didYouMean(type, types)}`,
    );
  }
  const command = fields.text('command');
  const args = fields.names('args', true);
  const workingDir = fields.text('cwd');
  const urls = new Set(urlKeys.map((key) => fields.text(key)).filter((text) => text !== undefined));
  const [url] = urls;
  const headers = fields.texts('headers');
  if ((command === undefined) === (url === undefined)) {
    issues.add(path, command === undefined ? 'needs "command" or "url"' : 'has both "command" and a URL: keep one');
    return undefined;
  }
  if (urls.size > 1) {
    issues.add(path, 'has several URLs: keep one');
  }
  if (url === undefined) {
    fields.ignore(['headers'], 'only a server with a URL has it');
  } else {
    fields.ignore(['env', 'args', 'cwd'], 'only a server with a command has it');
  }
  return url === undefined
    ? {
        type: 'local-process',
        command: command as string,
        ...(args && { args }),
        ...(workingDir && { working_dir: workingDir }),
      }
    : { type: 'remote-sse', url, ...(headers && { headers }), ...(type === 'sse' && { transport: 'sse' }) };
}

/** The fields of a server, each of which is looked at once. */
class Fields {
  readonly #server: Readonly<Record<string, unknown>>;
  readonly #context: ConvertContext;
  readonly #read = new Set<string>();

  constructor(server: Readonly<Record<string, unknown>>, context: ConvertContext) {
    this.#server = server;
    this.#context = context;
  }

  text(key: string): string | undefined {
    const value = this.#take(key);
    return value === undefined ? undefined : this.#text(value, [key]);
  }

  flag(key: string): boolean | undefined {
    const value = this.#take(key);
    if (value !== undefined && typeof value !== 'boolean') {
      this.#report([key], 'must be true or false');
    }
    return value === true || value === false ? value : undefined;
  }

  names(key: string, mayBeEmpty = false): string[] | undefined {
    const value = this.#take(key);
    if (value !== undefined && !Array.isArray(value)) {
      this.#report([key], 'must be a list of strings');
      return undefined;
    }
    return value
      ?.map((item, index) => this.#text(item, [key, index]) ?? '')
      .filter((item) => mayBeEmpty || item !== '');
  }

  /** VS Code takes numbers too, and null, by which it keeps a variable of its own from a server. */
  texts(key: string): Record<string, string> | undefined {
    const value = this.#take(key);
    if (value !== undefined && !isPlainObject(value)) {
      this.#report([key], 'must be an object of strings');
      return undefined;
    }
    const items = Object.entries(value ?? {});
    for (const [name, item] of items) {
      if (item === null) this.#tell([key, name], 'is null, and a catalog takes no value away');
    }
    const texts = items
      .filter(([, item]) => item !== null)
      .map(([name, item]) => [name, this.#text(typeof item === 'number' ? String(item) : item, [key, name]) ?? '']);
    return value && Object.fromEntries(texts);
  }

  /** Says of fields that are for another kind of server that they are left out. */
  ignore(keys: readonly string[], reason: string): void {
    for (const key of keys.filter((name) => this.#take(name) !== undefined)) this.#tell([key], reason);
  }

  /** Says of every field that nobody has read what becomes of it. */
  reportRest(): void {
    for (const key of Object.keys(this.#server).filter((name) => !this.#read.has(name))) {
      const reason = impossible.get(key);
      if (reason === undefined) {
        this.#tell([key], ignored.get(key) ?? 'a catalog has no place for it');
      } else {
        this.#report([key], reason);
      }
    }
  }

  #take(key: string): unknown {
    this.#read.add(key);
    return Object.hasOwn(this.#server, key) ? (this.#server[key] ?? undefined) : undefined;
  }

  #text(value: unknown, path: Path): string | undefined {
    if (typeof value !== 'string') {
      this.#report(path, 'must be a string');
      return undefined;
    }
    const { text, problem } = convertVariables(value, this.#context.variables);
    if (problem !== undefined) {
      this.#report(path, problem);
    }
    if (holdsBareVariable(value)) this.#tell(path, bareVariable);
    return text;
  }

  #tell(path: Path, reason: string): void {
    this.#context.onIgnored(formatPath([...this.#context.path, ...path]), reason);
  }

  #report(path: Path, message: string): void {
    const { issues, path: above, id } = this.#context;
    issues.add([...above, ...path], message, { server: id });
  }
}
