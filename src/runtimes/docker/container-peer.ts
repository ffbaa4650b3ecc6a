import type { Duplex, Readable, Writable } from 'node:stream';
import { GatewayError } from '../../errors.js';
import type { Clock } from '../../options.js';
import { OptionalReadable, OutputTail } from '../../transport/output-tail.js';
import { farOutput, type OutputPatience, type PeerExit, type StreamPeer } from '../../transport/stream-peer.js';
import { settledWithin } from '../../util/abort.js';
import { heldOpen } from '../../util/held-open.js';
import { once } from '../../util/once.js';
import { textOf } from '../../util/text-of.js';
import { Demultiplexer } from './engine/demultiplexer.js';
import type { ContainerEnd, Engine, Waiting } from './engine/engine.js';
import { toExit } from './exit-reason.js';
import { removeContainer } from './remove-container.js';
import type { DockerSpec } from './spec.js';

export interface ContainerPeerOptions {
  readonly engine: Engine;
  readonly id: string;
  readonly server: string;
  readonly spec: DockerSpec;
  readonly clock: Clock;
  readonly stderrTailBytes: number;
  /** The container's streams. */
  readonly connection: Duplex;
  /** Asked before the container was started. */
  readonly waiting: Waiting;
  /** Asks once more. */
  waitAgain(): Promise<Waiting>;
  /** Nobody waits for the container any more; `removed` unless it may still be there. */
  released(removed: boolean): void;
}

/** How long a server may take to end by itself once its input has ended. */
const endOfInputMs = 2_000;
/** How long after SIGTERM the engine sends SIGKILL, in seconds as its API wants it. */
const sigtermSeconds = 3;
/** An engine takes its time to clear up on a busy machine. */
const afterStopMs = 5_000;
const stopCallMs = 20_000;
const removeMs = 30_000;
/** The engine tells of the end once it has removed the container: a moment after the end of the output. */
const endPollMs = 250;
const endPolls = 40;
const afterExitMs = 500;
const inspectMs = 5_000;
/** How long after a wait for the end of a container that was cut the engine is asked again. */
const againMs = [250, 500, 1_000, 2_000, 4_000, 8_000];
/** A wait that has held for so long was no failure upon a failure. */
const heldMs = 10_000;
const eventsMs = 1_000;

/** A container that has just been started, with its streams attached. */
export class ContainerPeer implements StreamPeer {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly onOutput: StreamPeer['onOutput'];
  readonly stderr = new OptionalReadable();
  readonly pid = null;
  readonly patience: OutputPatience | undefined;
  readonly exited: Promise<PeerExit>;
  readonly stderrEnded: Promise<void>;

  readonly #options: ContainerPeerOptions;
  readonly #output: Demultiplexer;
  readonly #tail: OutputTail;
  readonly #connectionEnded: Promise<void>;
  /** The end of the container itself. */
  readonly #ended: Promise<PeerExit>;
  #hasExited = false;
  /** The engine itself said that the container is gone. */
  #removed = false;
  #stopping = false;
  /** Nothing more is tried to end it by itself: it is removed. */
  #isGivenUp = false;

  constructor(options: ContainerPeerOptions) {
    const { connection, stderrTailBytes } = options;
    this.#options = options;
    this.patience = options.engine.socketPath === undefined ? farOutput : undefined;
    this.#tail = new OutputTail(stderrTailBytes);
    this.#output = new Demultiplexer(connection, (chunk) => {
      this.#tail.push(chunk);
      // A copy: who reads here may take its time.
      this.stderr.offer(Buffer.from(chunk));
    });
    this.stdin = connection;
    this.stdout = this.#output.stdout;
    this.onOutput = this.#output.onOutput;
    connection.on('error', () => {});
    this.#connectionEnded = new Promise<void>((resolve) => {
      // It may have ended while the container was started.
      if (connection.readableEnded || connection.destroyed) resolve();
      connection.once('end', resolve).once('close', resolve);
    });
    this.#ended = this.#awaitEnd();
    const { promise: lost, resolve: lose } = Promise.withResolvers<PeerExit>();
    this.exited = Promise.race([this.#ended, lost]);
    void this.#connectionEnded.then(() => {
      this.stderr.finish();
      void this.#endOutput(lose);
    });
    // Podman may leave the connection open when a container ends as soon as it has begun.
    this.stderrEnded = this.exited.then(async () => {
      await settledWithin(this.#connectionEnded, this.patience?.silenceMs ?? afterExitMs, options.clock);
    });
  }

  stderrTail(): string {
    return this.#tail.toString();
  }

  readonly stop = once(() =>
    this.#finish(async () => {
      const { connection, engine, id, clock } = this.#options;
      if (!this.#hasExited) {
        connection.end();
        await settledWithin(this.#ended, endOfInputMs, clock);
      }
      if (!this.#hasExited) {
        // First of all: an attachment that nobody reads blocks the engine.
        connection.destroy();
        await engine.stop(id, sigtermSeconds, AbortSignal.timeout(stopCallMs)).catch(() => {});
        await settledWithin(this.#ended, afterStopMs, clock);
      }
    }),
  );

  /** Ends the container at once, for a start that nobody wants any more. */
  kill(): Promise<void> {
    return this.#finish(async () => {});
  }

  #finish(end: () => Promise<void>): Promise<void> {
    this.#stopping = true;
    return heldOpen(this.#remove(end));
  }

  async #remove(end: () => Promise<void>): Promise<void> {
    const { connection, engine, id, server, released } = this.#options;
    try {
      await end();
      this.#isGivenUp = true;
      connection.destroy();
      if (!this.#removed) {
        await removeContainer(engine, id, AbortSignal.timeout(removeMs));
      }
      released(true);
    } catch (cause) {
      released(false);
      const message = `the container ${id.slice(0, 12)} may still be there: ${textOf(cause)}`;
      throw new GatewayError('STOP_FAILED', message, { server, cause });
    }
  }

  async #awaitEnd(): Promise<PeerExit> {
    const { engine, spec } = this.#options;
    try {
      const end = await this.#awaitRemoval();
      this.#removed = end?.asWaitedFor ?? true;
      const history = this.#stopping ? undefined : await this.#readHistory();
      const code = history?.exitCode ?? end?.exitCode;
      if (code !== undefined) return toExit(code, history?.oom ?? false, () => this.stderrTail(), spec);
    } catch {
      // Then it is lost.
    } finally {
      this.#hasExited = true;
    }
    const message = `lost the engine at ${engine.address}, and with it the server; does it still run?`;
    return { reason: 'engine-lost', message };
  }

  /**
   * Undefined when the container is gone, and nobody has told how it ended. What cuts a connection that is silent for long, as a
   * proxy does, has not ended the server: the engine is asked again, while there is one.
   */
  async #awaitRemoval(): Promise<ContainerEnd | undefined> {
    const { engine, id, clock, waitAgain } = this.#options;
    let ended = this.#options.waiting.ended;
    let isOver = false;
    for (let failures = 0; ; failures += 1) {
      const since = clock.now();
      try {
        return await ended;
      } catch (error) {
        if (this.#isGivenUp) throw error;
        if (clock.now() - since > heldMs) failures = 0;
        // At once when it ends, and else not: all tries would be over in a moment.
        const news: Promise<void> = isOver ? new Promise(() => {}) : this.#connectionEnded;
        isOver = (await settledWithin(news, againMs[failures] ?? 0, clock)) || isOver;
        // Where there is none, the engine may be lost.
        if (isOver && (await engine.inspect(id, AbortSignal.timeout(inspectMs))) === undefined) return undefined;
        if (this.#isGivenUp || failures === againMs.length) throw error;
        ended = waitAgain().then((waiting) => waiting.ended);
      }
    }
  }

  /**
   * A container that its engine has removed cannot be inspected any more, but the engine remembers what happened to it: that
   * the memory ran out, and the exit code, for which Podman's answer to who waits for the removal is always 0.
   */
  async #readHistory(): Promise<{ oom: boolean; exitCode: number | undefined }> {
    const { engine, id } = this.#options;
    let oom = false;
    let code: number | undefined;
    try {
      for await (const { action, exitCode } of engine.events(id, AbortSignal.timeout(eventsMs))) {
        oom ||= action === 'oom';
        code = exitCode ?? code;
        if (action === 'destroy' || action === 'remove') {
          break;
        }
      }
    } catch {
      // Then it stays unknown.
    }
    return { oom, exitCode: code };
  }

  /**
   * The end of the output is passed on together with the news of the container's end. One that runs on, as after a restart by
   * somebody else, has no connection any more that could be taken up again.
   */
  async #endOutput(lose: (exit: PeerExit) => void): Promise<void> {
    const { engine, id, clock } = this.#options;
    let seenRunning = false;
    for (let turn = 0; turn < endPolls && !(await settledWithin(this.#ended, endPollMs, clock)); turn += 1) {
      const state = await engine.inspect(id, AbortSignal.timeout(inspectMs)).catch(() => undefined);
      if (state?.running !== true) {
        continue;
      }
      // The state of one that has just ended may be late on a busy machine.
      if (seenRunning) {
        const name = id.slice(0, 12);
        const why = 'somebody has restarted it, or its server has closed stdout and stderr, or a proxy cut it';
        const message = `the connection to the container ${name} was lost, and it runs: ${why}`;
        lose({ reason: 'connection-lost', message });
        break;
      }
      seenRunning = true;
    }
    this.#output.finish();
  }
}
