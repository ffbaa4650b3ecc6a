import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');

/** Takes away what nobody holds any more. */
export const collectGarbage = runInNewContext('gc') as () => void;

/** How many bytes the objects of this process take that are still of use. */
export async function settledHeap(): Promise<number> {
  for (let turn = 0; turn < 3; turn++) {
    collectGarbage();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage().heapUsed;
}
