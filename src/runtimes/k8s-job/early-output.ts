import type { Readable } from 'node:stream';
import type { Clock } from '../../options.js';
import { isJsonRpcMessage } from '../../transport/json-rpc.js';
import { pause } from '../shared/kubernetes/request.js';

/** How long what the attached stream already holds may take to arrive. */
const arrivalMs = 250;

/** What a container wrote before it was attached to: Kubernetes replays nothing, but keeps a log. */
export interface EarlyOutput {
  /** Messages that the attached stream does not hold, each a line. */
  readonly messages: Buffer;
  /** Other lines: stderr, most likely. */
  readonly others: string;
  /** What has been read of the attached stream. */
  readonly attached: Buffer;
}

/**
 * Finds what was written before the stream was attached. Nothing must have been sent to the server yet, so that all it
 * wrote it wrote by itself.
 *
 * @param log - read after the stream was attached: it ends with what the stream begins with
 */
export async function findEarlyOutput(log: string, stdout: Readable, clock: Clock): Promise<EarlyOutput> {
  const lines = log.split('\n').filter((line) => line.trim() !== '');
  const logged = lines.filter(isMessage);
  const others = lines.filter((line) => !isMessage(line)).join('\n');
  if (logged.length === 0) return { messages: Buffer.alloc(0), others, attached: Buffer.alloc(0) };
  const chunks: Buffer[] = [];
  const take = () => {
    for (let chunk: Buffer | null = stdout.read(); chunk !== null; chunk = stdout.read()) chunks.push(chunk);
  };
  stdout.on('readable', take);
  await pause(arrivalMs, undefined, clock);
  stdout.off('readable', take);
  take();
  const attached = Buffer.concat(chunks);
  const arrived = attached.toString().split('\n').slice(0, -1).filter(isMessage);
  const early = logged.slice(0, overlapStart(logged, arrived));
  return { messages: Buffer.from(early.map((line) => `${line}\n`).join('')), others, attached };
}

/**
 * From where on `logged` is what `arrived` begins with. A server may have written many equal lines: no place is tried anew, as
 * Knuth, Morris and Pratt have it.
 */
export function overlapStart(logged: readonly string[], arrived: readonly string[]): number {
  const wanted = arrived.map((line) => line.trim());
  /** For each beginning of what is wanted: the longest shorter one that it ends with. */
  const shorter: number[] = [];
  const longer = (matched: number, line: string): number => {
    let length = matched;
    while (length > 0 && wanted[length] !== line) length = shorter[length - 1] ?? 0;
    return wanted[length] === line ? length + 1 : 0;
  };
  for (const [at, line] of wanted.entries()) shorter.push(at === 0 ? 0 : longer(shorter[at - 1] ?? 0, line));
  let matched = 0;
  for (const [at, line] of logged.entries()) {
    if (matched > 0 && matched === wanted.length) return at - matched;
    matched = longer(matched, line.trim());
  }
  return logged.length - matched;
}

/** Whether a line is a message, or a batch of them. */
export function isMessage(line: string): boolean {
  const text = line.trim();
  if (text[0] !== '{' && text[0] !== '[') return false;
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value.every(isJsonRpcMessage) : isJsonRpcMessage(value);
  } catch {
    return false;
  }
}
