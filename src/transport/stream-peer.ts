import type { Readable, Writable } from 'node:stream';
import type { ExitInfo } from '../errors.js';

/** How a server ended, as whatever ran it knows. */
export interface PeerExit extends Omit<ExitInfo, 'stderrTail'> {
  /** In words, where code, signal and reason do not say it all: `the container ran out of memory`. */
  readonly message?: string | undefined;
}

/** Gets bytes of stdout, the first `length` of a buffer. Borrowed ones are good until it returns. */
export type OutputListener = (bytes: Buffer, length: number, isBorrowed: boolean) => void;

/** How long output is waited for after the end of its server. */
export interface OutputPatience {
  /** Without a byte. */
  readonly silenceMs: number;
  /** In all. */
  readonly totalMs: number;
}

/** For a server whose end is told on another connection than the one that its output comes on, over a network. */
export const farOutput: OutputPatience = { silenceMs: 3_000, totalMs: 60_000 };

/** A running server with three byte streams, whatever runs it: a process, a container, a pod. */
export interface StreamPeer {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable | null;
  /** The operating system's id, null where there is none here. */
  readonly pid: number | null;
  /**
   * A cheaper way to read stdout than its `data` events: sets who gets the bytes. Stdout begins to flow, pauses and ends
   * as ever; before it flows nothing is read from it, and what was read at once may still come after a pause.
   */
  readonly onOutput?: ((listener: OutputListener) => void) | undefined;
  /** Undefined where the end of the server cannot overtake its output: then a moment will do. */
  readonly patience?: OutputPatience | undefined;
  /** Resolves when the server has ended, by itself or by `stop`. Never rejects. */
  readonly exited: Promise<PeerExit>;
  /** Resolves when stderr has been read to its end, or a moment after the server's end when somebody else holds it open. */
  readonly stderrEnded: Promise<void>;
  /** The bounded end of what was written to stderr. */
  stderrTail(): string;
  /** Ends the server and all it started; resolves when they are gone. May be called twice. Rejects with `STOP_FAILED`. */
  stop(): Promise<void>;
}

/** An end in words, for whom no message says it. */
export function describeExit({ code, signal, reason }: PeerExit): string {
  const how = signal === undefined ? `with code ${code}` : `by signal ${signal}`;
  return `the server ended ${how}${reason === undefined ? '' : ` (${reason})`}`;
}
