import { GatewayError } from '../errors.js';
import type { Clock } from '../options.js';
import type { RuntimeFactory } from '../runtime.js';
import { formatSize } from '../util/quantity.js';
import type { Place, Places } from './limits.js';

/** What all instances of a gateway may take up, and how much of it one of this entry needs. */
export interface Room {
  readonly instances: Places;
  /** Undefined when nobody limits the memory, or the runtime does not say how much this entry may use. */
  readonly memory: MemoryShare | undefined;
}

export interface MemoryShare {
  readonly places: Places;
  readonly bytes: number;
}

/** What an entry needs of a limited memory. */
export function memoryShareOf(places: Places, factory: RuntimeFactory, spec: unknown): MemoryShare | undefined {
  const bytes = factory.memory?.(spec);
  if (bytes === undefined) {
    return undefined;
  }
  // One that is no number would make the sum of all of them none.
  if (!(bytes >= 0 && bytes < Number.POSITIVE_INFINITY)) {
    throw new TypeError(`memory() of the runtime "${factory.type}" returned ${bytes}, which is no number of bytes`);
  }
  return { places, bytes };
}

/**
 * Waits until there is room for one more instance.
 *
 * @param since - from when on `ms` counts
 * @throws `GatewayError` `LIMIT_REACHED` after `ms`, or at once when it can never fit; `signal.reason` once aborted
 */
export async function takeRoom(
  { instances, memory }: Room,
  server: string,
  ms: number,
  signal: AbortSignal,
  clock: Clock,
  since = clock.now(),
): Promise<Place> {
  const problem = memory && problemOf(memory);
  if (problem !== undefined) {
    throw new GatewayError('LIMIT_REACHED', problem, { server, delivered: false });
  }
  const left = () => Math.max(0, Math.round(since + ms - clock.now()));
  // Memory first: those who need none must not queue behind somebody who has an instance's place and waits for memory.
  const share = await memory?.places.take(server, left(), signal, memory.bytes, ms);
  try {
    const place = await instances.take(server, left(), signal, 1, ms);
    if (share === undefined) {
      return place;
    }
    return () => {
      place();
      share();
    };
  } catch (error) {
    share?.();
    throw error;
  }
}

/** Why an instance will never fit; undefined when it will. */
export function problemOf({ bytes, places }: MemoryShare): string | undefined {
  return bytes > places.max
    ? `it may use ${formatSize(bytes)} of memory, and limits.memory allows ${formatSize(places.max)} for all servers`
    : undefined;
}
