import { describe, onTestFinished, test } from 'vitest';
import { RemoteSseRuntime } from '../../src/runtimes/remote-sse.js';
import { runtimeContract } from '../../src/testing/index.js';
import type { Listening } from '../fixtures/http/listen.js';
import { listenLegacy, listenStreamable, toQuery } from '../fixtures/http/reference-hosts.js';

/** An address where nobody listens any more. */
async function nowhere(listen: () => Promise<Listening>): Promise<string> {
  const host = await listen();
  await host.close();
  return host.origin;
}

async function origin(listen: () => Promise<Listening>): Promise<string> {
  const host = await listen();
  onTestFinished(() => host.close());
  return host.origin;
}

describe('remote-sse over Streamable HTTP', () => {
  runtimeContract(test, {
    create: () => new RemoteSseRuntime(),
    working: async (args) => ({ url: `${await origin(listenStreamable)}/mcp${toQuery(args)}` }),
    broken: async () => ({ url: `${await nowhere(listenStreamable)}/mcp` }),
    guardMs: 120_000,
  });
});

describe('remote-sse over HTTP+SSE', () => {
  runtimeContract(test, {
    create: () => new RemoteSseRuntime(),
    working: async (args) => ({ url: `${await origin(listenLegacy)}/sse${toQuery(args)}`, transport: 'sse' as const }),
    broken: async () => ({ url: `${await nowhere(listenLegacy)}/sse`, transport: 'sse' as const }),
    guardMs: 120_000,
  });
});
