import type { ChildProcess } from 'node:child_process';
import { once as emitted } from 'node:events';
import { resolve } from 'node:path';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import * as v from 'valibot';
import { checkOptions } from '../checks/check-options.js';
import * as kinds from '../checks/option-kinds.js';
import { GatewayError } from '../errors.js';
import type { CheckResult, RuntimeContext, RuntimeFactory, RuntimeTransport } from '../runtime.js';
import { StreamTransport } from '../transport/stream-transport.js';
import { assertDescriptors } from '../util/descriptors.js';
import { nextTurn } from '../util/immediate.js';
import { parseDuration } from '../util/quantity.js';
import { childEnv, pathOf } from './local-process/child-env.js';
import { ChildPeer, type StopTimeouts } from './local-process/child-peer.js';
import { type FoundCommand, findCommand, findDirectoryProblem } from './local-process/find-command.js';
import { Guardian, markVariable } from './local-process/guardian.js';
import { durationSchema } from './shared/spec-parts.js';

const posix = process.platform !== 'win32';

const loadSpawn = () => import('cross-spawn');
type Spawn = Awaited<ReturnType<typeof loadSpawn>>['default'];

/** The fields of a `local-process` runtime in a catalog. */
export const localProcessSpec = v.strictObject({
  command: v.pipe(v.string(), v.nonEmpty('is empty; name a program')),
  args: v.optional(v.array(v.string())),
  working_dir: v.optional(v.pipe(v.string(), v.nonEmpty('is empty; leave it out or name a directory'))),
  inherit_env: v.optional(
    v.union(
      [
        v.boolean(),
        v.array(v.pipe(v.string(), v.regex(/^[^=]+$/, 'is not the name of a variable; values go into env'))),
      ],
      'must be true, false or a list of names',
    ),
  ),
  stop_timeout: v.optional(
    v.strictObject({
      stdin: v.optional(durationSchema),
      sigterm: v.optional(durationSchema),
      sigkill: v.optional(durationSchema),
    }),
  ),
});

/** The runtime's part of a `local-process` entry. */
export interface LocalProcessSpec {
  /** A program: a name that is looked up in the server's PATH, or a path (relative ones start at the catalog's folder). */
  readonly command: string;
  /** Its arguments, handed over as they are: no shell is involved. */
  readonly args?: readonly string[] | undefined;
  /**
   * Where the server runs; a relative path starts at the catalog's folder.
   *
   * @default the catalog's folder
   */
  readonly working_dir?: string | undefined;
  /**
   * `true` hands down all of the host's environment, a list of names those besides the usual short list.
   *
   * @default false
   */
  readonly inherit_env?: boolean | readonly string[] | undefined;
  /** How long each step of stopping waits, as `500ms` or `2s`. */
  readonly stop_timeout?:
    | {
        /** After stdin was closed. @default '2s' */
        readonly stdin?: string | undefined;
        /** After SIGTERM. @default '3s' */
        readonly sigterm?: string | undefined;
        /** After SIGKILL. @default '1s' */
        readonly sigkill?: string | undefined;
      }
    | undefined;
}

/** Settings of a {@link LocalProcessRuntime}. */
export interface LocalProcessOptions {
  /**
   * The environment that servers may inherit from.
   *
   * @default process.env, read at each start
   */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  /**
   * Whether a small shell ends what is left when the host is killed by SIGKILL (POSIX only).
   *
   * @default true
   */
  readonly guardian?: boolean | undefined;
}

const optionsSchema = v.strictObject({
  env: kinds.optionalObject,
  guardian: kinds.boolean,
} satisfies kinds.Schemas<LocalProcessOptions>);

/**
 * Runs servers as child processes and speaks to them over stdin and stdout: type `local-process`.
 *
 * No shell is involved. Each server is a process group of its own, so that what a wrapper (`npx`, `uvx`, `sh -c`) started
 * ends with it. Stopping closes stdin, then sends SIGTERM, then SIGKILL, to the group, as the stdio transport of the MCP
 * specification asks ("Transports", "stdio", "Shutdown").
 */
export class LocalProcessRuntime implements RuntimeFactory<LocalProcessSpec> {
  readonly type = 'local-process';
  readonly spec: StandardSchemaV1<LocalProcessSpec> = localProcessSpec;

  readonly #hostEnv: Readonly<Record<string, string | undefined>> | undefined;
  readonly #guardian: Guardian | undefined;
  /** Settles when the next start may hold up the event loop. */
  #turn: Promise<void> = Promise.resolve();

  /** @throws `GatewayError` `OPTION_INVALID` */
  constructor(options: LocalProcessOptions = {}) {
    checkOptions('LocalProcessRuntime', optionsSchema, options);
    this.#hostEnv = options.env;
    this.#guardian = options.guardian === false || !posix ? undefined : new Guardian();
  }

  /** Looks for the working directory and, but on Windows, for the command. Starts nothing. */
  async check(spec: LocalProcessSpec, context: RuntimeContext): Promise<CheckResult> {
    context.signal.throwIfAborted();
    const found = findProgram(spec, context, this.#env(spec, context));
    return 'problem' in found ? { ok: false, problems: [found.problem] } : { ok: true, problems: [] };
  }

  describe(
    spec: LocalProcessSpec,
    context: Pick<RuntimeContext, 'server' | 'env' | 'baseDir'>,
  ): Record<string, unknown> {
    return {
      argv: [spec.command, ...(spec.args ?? [])],
      working_dir: workingDir(spec, context),
      env: Object.keys(this.#env(spec, context))
        .concat(this.#guardian === undefined ? [] : markVariable)
        .sort(),
    };
  }

  /**
   * Starts the process.
   *
   * @throws `GatewayError` `START_FAILED` that tells a missing command, a missing directory, a file that is not executable
   * and a missing interpreter apart.
   */
  async open(spec: LocalProcessSpec, context: RuntimeContext): Promise<RuntimeTransport> {
    const { server, signal, clock, limits } = context;
    signal.throwIfAborted();
    context.report('starting');
    const { default: spawn } = await loadSpawn();
    await this.#takeTurn();
    signal.throwIfAborted();
    const env = this.#env(spec, context);
    const found = findProgram(spec, context, env);
    if ('problem' in found) {
      throw new GatewayError('START_FAILED', found.problem, { server });
    }
    const child = await this.#spawn(spawn, found.file, env, spec, context);
    const peer = new ChildPeer(child, {
      server,
      clock,
      timeouts: stopTimeouts(spec),
      stderrTailBytes: limits.stderrTailBytes,
      guardian: this.#guardian,
    });
    if (signal.aborted) {
      await peer.kill();
      throw signal.reason;
    }
    return new StreamTransport(peer, { server, maxMessageBytes: limits.maxMessageBytes, clock });
  }

  /** Ends the guardian. */
  async close(): Promise<void> {
    await this.#guardian?.close();
  }

  /**
   * Node does nothing else for some milliseconds while it starts a process: of many starts at once, each gets a turn of the
   * event loop, with all other work between two of them.
   */
  #takeTurn(): Promise<void> {
    const mine = this.#turn;
    this.#turn = mine.then(nextTurn);
    return mine;
  }

  /** Resolves once the system runs the program. */
  async #spawn(
    spawn: Spawn,
    file: string,
    env: Record<string, string>,
    spec: LocalProcessSpec,
    context: RuntimeContext,
  ): Promise<ChildProcess> {
    let mark: string | undefined;
    try {
      assertDescriptors();
      // Announced before it starts: a host that is killed in between leaves nothing unguarded.
      mark = this.#guardian?.expect();
      if (mark !== undefined) {
        env[markVariable] = mark;
      }
      const child = spawn(file, [...(spec.args ?? [])], {
        cwd: workingDir(spec, context),
        env,
        detached: posix,
        windowsHide: true,
        stdio: 'pipe',
      });
      if (mark !== undefined && child.pid !== undefined) {
        this.#guardian?.guard(child.pid, mark);
      }
      await emitted(child, 'spawn');
      return child;
    } catch (error) {
      if (mark !== undefined) {
        this.#guardian?.forget(mark);
      }
      // The system's own error holds all arguments, so it does not become the cause.
      throw new GatewayError('START_FAILED', `the system could not start ${file}: ${whyNot(error)}`, {
        server: context.server,
      });
    }
  }

  #env(spec: LocalProcessSpec, context: Pick<RuntimeContext, 'env'>): Record<string, string> {
    return childEnv(this.#hostEnv ?? process.env, context.env, spec.inherit_env ?? false, process.platform);
  }
}

function findProgram(spec: LocalProcessSpec, { baseDir }: RuntimeContext, env: Record<string, string>): FoundCommand {
  const directory = workingDir(spec, { baseDir });
  if (process.platform !== 'win32') {
    return findCommand(spec.command, directory, baseDir, pathOf(env, process.platform));
  }
  const problem = findDirectoryProblem(directory);
  if (problem !== undefined) {
    return { problem };
  }
  // cross-spawn looks the command up by Windows' own rules.
  return { file: /[\\/]/.test(spec.command) ? resolve(baseDir, spec.command) : spec.command };
}

const remedies: Readonly<Record<string, string>> = {
  E2BIG: 'args and environment are too long together; shorten them, or leave out inherit_env',
  EACCES: 'permission denied; check the rights of the file, of its folder and of working_dir',
  EAGAIN: 'there are too many processes; raise the limit (ulimit -u)',
  EMFILE: 'the host has too many open files; raise the limit (ulimit -n)',
  ENFILE: 'the system has too many open files',
  ENOENT: 'its interpreter or loader is missing; is it built for this system?',
  ENOEXEC: 'it is no program for this machine; install the build for its processor',
  ENOMEM: 'there is not enough memory',
  ERR_INVALID_ARG_VALUE: 'a NUL character stands in command, args, env or working_dir; remove it',
  ETXTBSY: 'the file is being written; try again when that is done',
};

function whyNot(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
  const remedy = Object.hasOwn(remedies, code) ? remedies[code] : undefined;
  return remedy === undefined ? code : `${remedy} (${code})`;
}

function workingDir(spec: LocalProcessSpec, context: Pick<RuntimeContext, 'baseDir'>): string {
  return resolve(context.baseDir, spec.working_dir ?? '.');
}

function stopTimeouts(spec: LocalProcessSpec): StopTimeouts {
  const wait = (text: string | undefined, otherwise: number) =>
    text === undefined ? otherwise : (parseDuration(text) ?? otherwise);
  return {
    stdinMs: wait(spec.stop_timeout?.stdin, 2_000),
    sigtermMs: wait(spec.stop_timeout?.sigterm, 3_000),
    sigkillMs: wait(spec.stop_timeout?.sigkill, 1_000),
  };
}
