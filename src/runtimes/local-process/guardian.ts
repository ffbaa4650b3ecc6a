import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';

/**
 * A variable that each server gets besides its own: a random word, by which the guardian finds a server that its host had
 * just started, and not yet noted, when it was killed.
 */
export const markVariable = 'OPEN_MCP_GATEWAY_MARK';
// Written so that the one who looks for it does not find itself, and its guardian with it.
const markPattern = `[${markVariable.slice(0, 1)}]${markVariable.slice(1)}`;

/**
 * Reads lines: "? mark" before a start, "+ group mark" after it, "! mark" when it failed, "- group" after a stop. The end
 * of its input means that the host is gone. Servers that honour end of input need no help and get a moment; the others get
 * SIGTERM, then SIGKILL. What was being started is found by its mark, in the kernel's table or else by ps.
 */
const scriptWith = (proc: string) => `
groups=
marks=
without() {
  kept=
  for one in $1; do [ "$one" = "$2" ] || kept="$kept $one"; done
}
while read -r sign what mark; do
  case $sign in
    "?") marks="$marks $what" ;;
    "!") without "$marks" "$what"; marks=$kept ;;
    +) groups="$groups $what"; without "$marks" "$mark"; marks=$kept ;;
    -) without "$groups" "$what"; groups=$kept ;;
  esac
done
[ -n "$groups$marks" ] || exit 0
sleep 2
for mark in $marks; do
  if [ -r ${proc}/self/environ ]; then
    for folder in ${proc}/[0-9]*; do
      if grep -q "${markVariable}=$mark" "$folder/environ" && read -r stat < "$folder/stat"; then
        set -- \${stat##*) }
        groups="$groups $3"
      fi
    done
  else
    for one in $({ ps -axEww -o pgid=,command= || ps -axeww -o pgid=,command=; } | grep "${markPattern}=$mark" | sed 's/^ *\\([0-9]*\\).*/\\1/'); do
      groups="$groups $one"
    done
  fi
done 2>/dev/null
for one in $groups; do [ "$one" -gt 1 ] && kill -TERM "-$one"; done 2>/dev/null
sleep 3
for one in $groups; do [ "$one" -gt 1 ] && kill -KILL "-$one"; done 2>/dev/null
`;

/**
 * Outlives the host just long enough to end the process groups that it left behind when it was killed by SIGKILL. One
 * small POSIX shell on a pipe, started with the first group. Where there is no shell, there is no guardian.
 */
export class Guardian {
  readonly #script: string;
  readonly #groups = new Set<number>();
  readonly #marks = new Set<string>();
  #shell: ChildProcess | undefined;

  /** @param proc - where the kernel's table is, if there is one */
  constructor(proc = '/proc') {
    this.#script = scriptWith(proc);
  }

  /** Announces the start of a server; the mark has to be in the server's environment as {@link markVariable}. */
  expect(): string {
    this.#prepare();
    const mark = randomBytes(8).toString('hex');
    this.#marks.add(mark);
    this.#tell(`? ${mark}`);
    return mark;
  }

  /** The announced server runs, and leads this group. */
  guard(group: number, mark: string): void {
    this.#marks.delete(mark);
    this.#groups.add(group);
    this.#tell(`+ ${group} ${mark}`);
  }

  /** The announced server could not be started. */
  forget(mark: string): void {
    if (this.#marks.delete(mark)) {
      this.#tell(`! ${mark}`);
    }
  }

  /** Nobody of the group is left. */
  release(group: number): void {
    this.#groups.delete(group);
    this.#tell(`- ${group}`);
  }

  /** Ends the shell; groups that are still guarded are ended by it. */
  async close(): Promise<void> {
    const shell = this.#shell;
    this.#shell = undefined;
    if (shell?.stdin == null || shell.exitCode !== null || shell.signalCode !== null) {
      return;
    }
    if (this.#groups.size > 0) {
      shell.stdin.end();
      return;
    }
    await new Promise<void>((resolve) => {
      shell.ref();
      shell.once('exit', () => resolve()).once('error', () => resolve());
      // Nobody is left to guard, and one that somebody has frozen would not see the end of its input.
      shell.kill('SIGKILL');
    });
  }

  /** Starts the shell, so that it runs before the group does. */
  #prepare(): void {
    if (this.#shell !== undefined) {
      return;
    }
    let shell: ChildProcess;
    try {
      // In a session of its own: a signal to the host's group or terminal must not end it.
      shell = spawn('/bin/sh', ['-c', this.#script], {
        detached: true,
        stdio: ['pipe', 'ignore', 'ignore'],
        cwd: '/',
        env: { PATH: '/usr/bin:/bin' },
      });
    } catch {
      // Node throws some of what the system says, such as ENOMEM, and tells the rest by an event.
      return;
    }
    const gone = () => {
      if (this.#shell === shell) {
        this.#shell = undefined;
      }
    };
    shell.once('error', gone).once('exit', gone);
    shell.stdin?.on('error', gone);
    // Neither the shell nor its pipe keeps the host alive.
    shell.unref();
    (shell.stdin as unknown as { unref?: () => void } | null)?.unref?.();
    this.#shell = shell;
    // A shell that took the place of a dead one learns what that one knew.
    for (const group of this.#groups) {
      this.#tell(`+ ${group}`);
    }
    for (const mark of this.#marks) {
      this.#tell(`? ${mark}`);
    }
  }

  #tell(line: string): void {
    this.#shell?.stdin?.write(`${line}\n`);
  }
}
