import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

// Below those that a system gives out by itself: nobody gets one of them by chance before it is used.
const first = 15_000;
const end = 29_000;
// Workers that run side by side take different ones.
const lanes = 8;
const lane = Number(process.env.VITEST_POOL_ID ?? 0) % lanes;
const given = new Set<number>();

/** A port of loopback that nobody listens on now, for programs that cannot be told to find one themselves. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = first + lanes * randomInt((end - first) / lanes) + lane;
    if (given.has(port)) continue;
    given.add(port);
    const server = createServer().listen(port, '127.0.0.1');
    try {
      await once(server, 'listening');
    } catch {
      continue;
    }
    server.close();
    await once(server, 'close');
    return port;
  }
}
