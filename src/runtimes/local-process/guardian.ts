import { type ChildProcess, spawn } from 'node:child_process';

/**
 * Reads "+ group" and "- group" lines; the end of its input means that the host is gone. Servers that honour end of input
 * need no help and get a moment; the others get SIGTERM, then SIGKILL.
 */
const script = `
groups=
while read -r sign group; do
  case $sign in
    +) groups="$groups $group" ;;
    -) rest=
       for one in $groups; do [ "$one" = "$group" ] || rest="$rest $one"; done
       groups=$rest ;;
  esac
done
[ -n "$groups" ] || exit 0
sleep 2
for one in $groups; do kill -TERM -- "-$one"; done 2>/dev/null
sleep 3
for one in $groups; do kill -KILL -- "-$one"; done 2>/dev/null
`;

/**
 * Outlives the host just long enough to end the process groups that it left behind when it was killed by SIGKILL. One
 * small POSIX shell on a pipe, started with the first group. Where there is no shell, there is no guardian.
 */
export class Guardian {
  readonly #groups = new Set<number>();
  #shell: ChildProcess | undefined;

  /** Starts the shell, so that it runs before the group does. */
  prepare(): void {
    if (this.#shell !== undefined || process.platform === 'win32') {
      return;
    }
    // In a session of its own: a signal to the host's group or terminal must not end it.
    const shell = spawn('/bin/sh', ['-c', script], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
      cwd: '/',
      env: { PATH: '/usr/bin:/bin' },
    });
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
    for (const group of this.#groups) {
      this.#tell('+', group);
    }
  }

  guard(group: number): void {
    this.#groups.add(group);
    this.#tell('+', group);
  }

  release(group: number): void {
    this.#groups.delete(group);
    this.#tell('-', group);
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
      shell.stdin?.end();
    });
  }

  #tell(sign: '+' | '-', group: number): void {
    this.#shell?.stdin?.write(`${sign} ${group}\n`);
  }
}
