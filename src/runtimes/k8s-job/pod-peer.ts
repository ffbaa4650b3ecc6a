import { PassThrough, type Readable, type Writable } from 'node:stream';
import type { Clock } from '../../options.js';
import { OptionalReadable, OutputTail } from '../../transport/output-tail.js';
import { farOutput, type PeerExit, type StreamPeer } from '../../transport/stream-peer.js';
import { settledWithin } from '../../util/abort.js';
import { once } from '../../util/once.js';
import type { ChannelSocket } from '../shared/kubernetes/cluster.js';
import { parseObject } from '../shared/kubernetes/request.js';
import type { EarlyOutput } from './early-output.js';
import type { JobRun } from './job-run.js';
import { wordsOf } from './log-words.js';
import type { Pod } from './objects.js';
import { exitOfJob, judgePod } from './pod-state.js';

/** The channels of an attached container. */
export const channels = { stdin: 0, stdout: 1, stderr: 2, status: 3 } as const;

/** How long a server may take to end after the end of its input, before its Job is deleted. */
const stdinMs = 2_000;
/** How long Kubernetes may take to say how a container ended whose streams have ended: a busy node takes over ten seconds. */
const statusMs = 30_000;
/** How long it may take to explain a connection that was cut. */
const cutMs = 2_000;
const statusBytes = 4_096;

export interface PodPeerOptions {
  readonly run: JobRun;
  readonly pod: Pod;
  readonly socket: ChannelSocket;
  readonly early: EarlyOutput;
  readonly clock: Clock;
  readonly stderrTailBytes: number;
}

/** A server in a pod that we are attached to. */
export class PodPeer implements StreamPeer {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: OptionalReadable;
  readonly pid = null;
  readonly patience = farOutput;
  readonly exited: Promise<PeerExit>;
  readonly stderrEnded: Promise<void>;

  readonly #run: JobRun;
  readonly #podUid: string;
  readonly #socket: ChannelSocket;
  readonly #source: Readable;
  readonly #clock: Clock;
  readonly #tail: OutputTail;
  /** Why Kubernetes could not carry the connection on, if it says so at its end. */
  readonly #failure: Promise<string | undefined>;
  #stopping = false;

  constructor({ run, pod, socket, early, clock, stderrTailBytes }: PodPeerOptions) {
    this.#run = run;
    this.#podUid = pod.metadata.uid;
    this.#socket = socket;
    this.#clock = clock;
    this.#tail = new OutputTail(stderrTailBytes);
    this.stdin = socket.writable(channels.stdin);
    this.stderr = new OptionalReadable();
    if (early.others !== '') this.#readStderr(Buffer.from(`${early.others}\n`));
    const stderr = socket.readable(channels.stderr);
    stderr.on('data', (chunk: Buffer) => this.#readStderr(chunk));
    this.#failure = readFailure(socket.readable(channels.status));
    const stdout = new PassThrough({ highWaterMark: 256 * 1024 });
    this.stdout = stdout;
    for (const bytes of [early.messages, early.attached]) if (bytes.length > 0) stdout.write(bytes);
    const source = socket.readable(channels.stdout);
    this.#source = source;
    source.pipe(stdout, { end: false });
    this.exited = this.#awaitExit();
    const stderrEnded = new Promise<void>((resolve) => {
      if (stderr.readableEnded) resolve();
      else stderr.once('end', resolve);
    });
    // The end of the connection at the latest, as it may come behind the news of the server's end.
    void stderrEnded.then(() => this.stderr.finish());
    this.stderrEnded = this.exited.then(async () => {
      await settledWithin(stderrEnded, farOutput.silenceMs, clock);
    });
    const ended = new Promise((resolve) => {
      if (source.readableEnded) resolve(undefined);
      else source.once('end', resolve);
    });
    // How a server ended is known later than that it ended: its output must not seem to end while it runs.
    void Promise.all([ended, this.exited]).then(() => stdout.end());
  }

  stderrTail(): string {
    return this.#tail.toString();
  }

  readonly stop = once(async () => {
    this.#stopping = true;
    this.stdin.end();
    const closesInput = this.#socket.protocol.startsWith('v5.');
    // Before v5 there is no end of input but the end of the connection.
    if (!closesInput) void this.#socket.close();
    const ended = closesInput ? Promise.race([this.exited, this.#socket.closed]) : this.exited;
    await settledWithin(ended, stdinMs, this.#clock);
    await this.#socket.close();
    await this.#run.remove();
  });

  #readStderr(chunk: Buffer): void {
    this.#tail.push(chunk);
    this.stderr.offer(chunk);
  }

  async #awaitExit(): Promise<PeerExit> {
    const told = this.#toldExit();
    const first = await Promise.race([told, this.#socket.closed.then((lost) => ({ lost }))]);
    if (!('lost' in first)) return first;
    const { lost } = first;
    const failure = (await this.#failure) ?? lost?.message;
    const explained = this.#stopping || failure === undefined ? statusMs : cutMs;
    const exit = (await settledWithin(told, explained, this.#clock)) ? await told : {};
    // A cut ends the server's input: that it ended then is no reason.
    if (this.#stopping || exit.reason !== undefined || (lost === undefined && exit.code !== undefined)) return exit;
    // The log may say what could not be sent any more.
    const log = wordsOf(await this.#run.logEnd(50, 16 * 1024), this.#source.readableDidRead);
    if (log !== '' && this.#tail.toString() === '') this.#tail.push(Buffer.from(log));
    const why = failure ?? 'the API server closed the connection to the container';
    return { ...exit, reason: 'connection-lost', message: `the connection to the server was lost: ${why}` };
  }

  /** What Kubernetes says of the container's end. While it says nothing, the connection tells that it runs. */
  async #toldExit(): Promise<PeerExit> {
    const judge = (pods: readonly Pod[]): PeerExit | undefined => {
      const pod = pods.find(({ metadata }) => metadata.uid === this.#podUid);
      if (pod === undefined) return { reason: 'deleted', message: 'its pod was deleted' };
      const state = judgePod(pod, this.#run.names.job);
      return state.phase === 'ended' ? state.exit : undefined;
    };
    const exit = await this.#run
      .until(judge, undefined, true)
      .catch((error: Error): PeerExit => ({ reason: 'connection-lost', message: error.message }));
    if (this.#stopping || exit.reason !== 'deleted') return exit;
    return exitOfJob(exit, await this.#run.current());
  }
}

/** API servers of today take a connection before they ask the kubelet, and say afterwards why there is none. */
async function readFailure(channel: Readable): Promise<string | undefined> {
  const text = new OutputTail(statusBytes);
  for await (const chunk of channel as AsyncIterable<Buffer>) text.push(chunk);
  const { status, message } = parseObject(text.toString()) ?? {};
  return status === 'Failure' && typeof message === 'string' ? message : undefined;
}
