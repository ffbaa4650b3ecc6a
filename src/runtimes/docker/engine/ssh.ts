import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { Duplex, type Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { assertDescriptors } from '../../../util/descriptors.js';
import { hostOf } from '../../../util/host-of.js';
import { nextTurn } from '../../../util/immediate.js';
import type { Environment } from './docker-config.js';

const maxErrorText = 2_000;
/** How long the last words of an ssh that has ended may take to arrive. */
const lastWordsMs = 250;

/**
 * A connection to the engine of another machine: the streams of `docker system dial-stdio` there, by the user's own ssh
 * with its keys and settings. Each connection is one ssh process, which ends with it.
 */
export function connectOverSsh(url: URL, env: Environment): Duplex {
  const user = decodeURIComponent(url.username);
  const args = [
    '-o',
    'BatchMode=yes',
    '-o',
    'ConnectTimeout=30',
    // Who waits for a container may hear nothing for hours.
    '-o',
    'ServerAliveInterval=30',
    '-T',
    ...(user === '' ? [] : ['-l', user]),
    ...(url.port === '' ? [] : ['-p', url.port]),
    // What follows is never taken for an option.
    '--',
    hostOf(url),
    'docker',
    ...(url.pathname.length > 1 ? ['--host', `unix://${url.pathname}`] : []),
    'system',
    'dial-stdio',
  ];
  assertDescriptors(({ code }) => new Error(`ssh could not be started: spawn ssh ${code}`));
  return new SshConnection(spawn('ssh', args, { env, stdio: 'pipe', windowsHide: true }));
}

class SshConnection extends Duplex {
  readonly #child: ChildProcessWithoutNullStreams;
  #said = '';

  constructor(child: ChildProcessWithoutNullStreams) {
    super();
    this.#child = child;
    child.once('error', (error) => this.destroy(new Error(`ssh could not be started: ${error.message}`)));
    // Where there are no descriptors left, Node makes no streams, and tells why with the next tick.
    if ((child.stdout as Readable | undefined) === undefined) {
      return;
    }
    child.stdout.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) {
        child.stdout.pause();
      }
    });
    child.stderr.on('data', (chunk: Buffer) => {
      this.#said = (this.#said + chunk.toString('utf8')).slice(-maxErrorText);
    });
    // Why a pipe broke or ended is known when ssh has ended.
    for (const stream of [child.stdin, child.stdout, child.stderr]) {
      stream.on('error', () => {});
    }
    // It closes when nobody holds its pipes: one that ssh leaves behind, as with ControlPersist, may hold stderr for long.
    child.once('exit', async () => {
      await sleep(lastWordsMs, undefined, { ref: false });
      // Timers run before input after the event loop was blocked: let it read once more.
      await nextTurn();
      await nextTurn();
      child.stderr.destroy();
    });
    child.once('close', (code) => {
      if (code === 0) {
        this.push(null);
      } else {
        this.destroy(new Error(`ssh ended with code ${code}: ${this.#said.trim()}`));
      }
    });
  }

  override _read(): void {
    this.#child.stdout.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#child.stdin.write(chunk, () => done());
  }

  override _final(done: () => void): void {
    this.#child.stdin.end(() => done());
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#child.kill();
    done(error);
  }

  // What Node's HTTP client calls on a socket besides the methods of a stream.
  setTimeout(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}
