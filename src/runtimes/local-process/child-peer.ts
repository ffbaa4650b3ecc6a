import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { type ExitInfo, GatewayError } from '../../errors.js';
import type { Clock } from '../../options.js';
import { OptionalReadable, OutputTail } from '../../transport/output-tail.js';
import type { StreamPeer } from '../../transport/stream-peer.js';
import { settledWithin } from '../../util/abort.js';
import { heldOpen } from '../../util/held-open.js';
import { nextTurn } from '../../util/immediate.js';
import { borrowOutput } from './output.js';
import { groupGone, killTree, livingMembers, signalGroup } from './process-group.js';

/** How long each step of stopping waits, in milliseconds. */
export interface StopTimeouts {
  readonly stdinMs: number;
  readonly sigtermMs: number;
  readonly sigkillMs: number;
}

export interface ChildPeerOptions {
  readonly server: string;
  readonly clock: Clock;
  readonly timeouts: StopTimeouts;
  readonly stderrTailBytes: number;
  /** Told once the whole group is gone. */
  readonly guardian: { release(pid: number): void } | undefined;
}

// What is left of a group after its leader ended by itself has lost its purpose and gets only a moment.
const leftoverMs = 250;

const ignore = () => {};
const posix = process.platform !== 'win32';

/** A child process that the system has just started, and that leads a group of its own. */
export class ChildPeer implements StreamPeer {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly onOutput: StreamPeer['onOutput'];
  readonly pid: number;
  readonly exited: Promise<Omit<ExitInfo, 'stderrTail'>>;

  readonly #child: ChildProcess;
  readonly #options: ChildPeerOptions;
  readonly #tail: OutputTail;
  /** Only when somebody has asked for it. */
  #stderr: OptionalReadable | undefined;
  #hasExited = false;
  #stderrEnd: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(child: ChildProcess, options: ChildPeerOptions) {
    this.#child = child;
    this.stdin = child.stdin as Writable;
    const output = borrowOutput(child.stdout as Readable);
    this.stdout = output?.stream ?? (child.stdout as Readable);
    this.onOutput = output?.onBytes;
    if (output !== undefined) {
      // The child's own is of no use any more, and nothing else drops it while the child lives.
      Object.assign(child, { stdout: null });
      child.stdio[1] = null;
    }
    this.pid = child.pid as number;
    this.#options = options;
    this.#tail = new OutputTail(options.stderrTailBytes);
    this.exited = new Promise((resolve) => {
      const ended = () => {
        const { exitCode: code, signalCode: signal } = child;
        if (code === null && signal === null) {
          return;
        }
        this.#hasExited = true;
        this.#stderrEnd ??= this.#endStderr(child.stderr as Readable);
        resolve(signal === null ? { code: code ?? undefined } : { signal });
      };
      // On Windows, cross-spawn makes an error of the end of a command processor that did not find the program.
      child.on('exit', ended).on('error', ended);
    });
    // Always drained: a server blocks once the pipe is full.
    const stderr = child.stderr as Readable;
    stderr.on('data', (chunk: Buffer) => {
      this.#tail.push(chunk);
      this.#stderr?.offer(chunk);
    });
    // A broken pipe to which nobody listens would end the host. Whoever speaks over the other two does.
    stderr.on('error', ignore);
  }

  get stderrEnded(): Promise<void> {
    return this.exited.then(() => this.#stderrEnd);
  }

  /** A helper of the server may hold stderr for long; what the server itself wrote arrives within a moment. */
  async #endStderr(stderr: Readable): Promise<void> {
    if (!stderr.closed) {
      await settledWithin(once(stderr, 'close'), leftoverMs, this.#options.clock);
      // Timers run before input after the event loop was blocked: let it read once more.
      await nextTurn();
      await nextTurn();
      stderr.destroy();
    }
  }

  get stderr(): Readable {
    if (this.#stderr === undefined) {
      const shown = new OptionalReadable();
      const stderr = this.#child.stderr as Readable;
      if (stderr.closed) {
        shown.finish();
      } else {
        stderr.once('close', () => shown.finish());
      }
      this.#stderr = shown;
    }
    return this.#stderr;
  }

  stderrTail(): string {
    return this.#tail.toString();
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  #stop(): Promise<void> {
    this.stdin.end();
    const { stdinMs, sigtermMs, sigkillMs } = this.#options.timeouts;
    return this.#finish(() =>
      this.#hasExited ? this.#endGroup(0, leftoverMs, sigkillMs) : this.#endGroup(stdinMs, sigtermMs, sigkillMs),
    );
  }

  /** Ends the group at once, for a start that nobody wants any more. */
  async kill(): Promise<void> {
    this.stdin.destroy();
    this.stdout.destroy();
    await this.#finish(() => this.#endGroup(0, 0, this.#options.timeouts.sigkillMs));
  }

  async #finish(end: () => Promise<void>): Promise<void> {
    await heldOpen(end());
    const left = posix ? await livingMembers(this.pid) : this.#hasExited ? [] : [this.pid];
    if (left.length > 0) {
      // They may never end: nobody is to wait for them.
      this.#child.unref();
      this.#child.stderr?.destroy();
      throw new GatewayError('STOP_FAILED', `processes ${left.join(', ')} are still there after SIGKILL`, {
        server: this.#options.server,
      });
    }
    this.#options.guardian?.release(this.pid);
  }

  async #endGroup(stdinMs: number, sigtermMs: number, sigkillMs: number): Promise<void> {
    if (await this.#gone(stdinMs)) {
      return;
    }
    await this.#signal('SIGTERM');
    if (await this.#gone(sigtermMs)) {
      return;
    }
    await this.#signal('SIGKILL');
    await this.#gone(sigkillMs);
  }

  async #signal(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    if (posix) {
      signalGroup(this.pid, signal);
    } else if (!this.#hasExited) {
      await killTree(this.pid, signal === 'SIGKILL');
      if (signal === 'SIGKILL') {
        // There may be no taskkill on the host's PATH: then it is the server alone.
        this.#child.kill(signal);
      }
    }
  }

  /** True once the leader has ended and nobody of its group is alive. */
  async #gone(ms: number): Promise<boolean> {
    const { clock } = this.#options;
    const start = clock.now();
    if (!this.#hasExited && !(await settledWithin(this.exited, ms, clock))) {
      return false;
    }
    return !posix || groupGone(this.pid, Math.max(0, ms - (clock.now() - start)), clock);
  }
}
