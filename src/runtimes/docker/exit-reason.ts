import { constants } from 'node:os';
import type { PeerExit } from '../../transport/stream-peer.js';
import { defaultMemory, defaultPids } from './container-body.js';
import type { DockerSpec } from './spec.js';

/** Why a server ended, when a setting of its entry seems to be the cause. */
export interface Explanation {
  /** For programs. */
  readonly reason: string;
  /** For people: what to change. */
  readonly advice: string;
}

/**
 * How a container ended. Its last words are asked for when somebody wants to know why: they may come after the news of its
 * end.
 *
 * @param oom - the kernel ran out of the memory that the container may use
 */
export function toExit(code: number, oom: boolean, stderrTail: () => string, spec: DockerSpec): PeerExit {
  const signal = signalOf(code);
  const explanation = () => explainExit(code, oom, stderrTail(), spec);
  return {
    code,
    ...(signal !== undefined && { signal }),
    get reason() {
      return explanation()?.reason;
    },
    get message() {
      const { reason, advice } = explanation() ?? {};
      const how = signal === undefined ? `with code ${code}` : `with code ${code}, as by ${signal}`;
      return `the server ended ${how}${reason === undefined ? '' : ` (${reason}): ${advice}`}`;
    },
  };
}

/** A program that a signal ended has an exit code of 128 and the signal's number. */
function signalOf(code: number): string | undefined {
  return Object.entries(constants.signals).find(([, number]) => code === 128 + number)?.[0];
}

function explainExit(code: number, oom: boolean, stderrTail: string, spec: DockerSpec): Explanation | undefined {
  if (oom) {
    return { reason: 'oom', advice: `it needed more than memory: ${spec.memory ?? defaultMemory}` };
  }
  return code === 0 ? undefined : (explainEntry(stderrTail, spec) ?? explainSwitch(stderrTail, spec));
}

/** What the init of the container, or the engine's last step before it, says when it cannot run the program. */
function explainEntry(tail: string, { command }: DockerSpec): Explanation | undefined {
  // No name is longer: a line that says so again and again is not looked through from each of them.
  const [, program, why = ''] =
    /\bexec (\S+?|(?<=tini \(\d+\)\] exec ).{1,250}?)(?: failed)?: ([^\n]+)/.exec(tail) ?? [];
  if (program !== undefined) {
    return explainProgram(why, command ?? program);
  }
  // The init has a shell try what the kernel does not know, and that reads it as a script.
  const [, script] = /^(\S+): (?:line )?1: [^\n]*(?:\bELF|syntax error)/im.exec(tail) ?? [];
  return script === undefined ? undefined : explainProgram('exec format error', command ?? script);
}

/** Why the program of a container cannot be run; undefined when the words are not about that. */
export function explainProgram(why: string, program: string | undefined): Explanation | undefined {
  const what = program === undefined ? 'the program' : `the program ${program}`;
  if (/no such file or directory|executable file not found|could not be found/i.test(why)) {
    const remedy = /\S\s/.test(program ?? '') ? 'arguments go into args' : 'change command, or the image';
    return {
      reason: 'entrypoint-missing',
      advice: `${what}, or the interpreter it names, is not in the image; ${remedy}`,
    };
  }
  if (/exec format error/i.test(why)) {
    return {
      reason: 'exec-format',
      advice: `${what} is not made for this processor; set platform, or change the image`,
    };
  }
  if (/permission denied/i.test(why)) {
    return { reason: 'not-executable', advice: `${what} may not be executed; change its rights in the image, or user` };
  }
  return undefined;
}

function explainSwitch(tail: string, spec: DockerSpec): Explanation | undefined {
  const { read_only = true, pids = defaultPids, cap_add = [] } = spec;
  if (read_only && /read-only file system|EROFS/i.test(tail)) {
    return {
      reason: 'read-only',
      advice: 'its file system is read-only; give the folder a volume or a tmpfs, or set read_only: false',
    };
  }
  if (/cannot fork|can't fork|EAGAIN|resource temporarily unavailable|pthread_create/i.test(tail)) {
    return { reason: 'pids', advice: `it may have needed more processes and threads than pids: ${pids}` };
  }
  if (/heap out of memory|MemoryError|OutOfMemoryError|cannot allocate memory|ENOMEM/i.test(tail)) {
    return { reason: 'memory', advice: `it needed more than memory: ${spec.memory ?? defaultMemory} leaves it` };
  }
  if (/no space left on device|ENOSPC/i.test(tail)) {
    return { reason: 'no-space', advice: 'a tmpfs or a disk is full; give /tmp a larger size in tmpfs, or a volume' };
  }
  if (/operation not permitted|permission denied|EPERM|EACCES/i.test(tail)) {
    const given =
      cap_add.length === 0 ? 'it has no capabilities' : `of the capabilities it has only ${cap_add.join(', ')}`;
    return { reason: 'permission', advice: `${given}; add what it needs in cap_add, or change user` };
  }
  return undefined;
}
