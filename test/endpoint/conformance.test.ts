import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { createGateway, type RuntimeInput } from '../../src/index.js';
import { runConformance } from '../conformance/run-conformance.js';
import { createConformanceServer } from '../fixtures/conformance/server.js';
import { createHttpHost } from '../hosts/http-host.js';

const stdio = fileURLToPath(new URL('../fixtures/conformance/stdio.ts', import.meta.url));

const createRemote = () => createHttpHost((transport) => createConformanceServer().connect(transport));

const runtimes: Record<string, (remote: string) => RuntimeInput> = {
  'local-process': () => ({ type: 'local-process', command: process.execPath, args: [stdio] }),
  'in-process': () => ({ type: 'in-process', server: () => createConformanceServer() }),
  'remote-sse': (url) => ({ type: 'remote-sse', url }),
};

describe.each(Object.keys(runtimes))('conformance with %s behind the merged peer', (type) => {
  test('all 30 active scenarios pass', async () => {
    await using remote = await createRemote();
    const runtime = (runtimes[type] as (typeof runtimes)[string])(remote.url);
    // The scenarios know the tools by their own names.
    await using gateway = createGateway(
      { servers: [{ id: 'fixture', list_timeout: '60s', runtime: runtime as never }] },
      {
        names: ({ name }) => name,
      },
    );
    await using host = await createHttpHost((transport) => gateway.serve(transport));
    const result = await runConformance(host.url);
    expect(result.problems, result.output).toEqual([]);
    expect(result.scenarios).toHaveLength(30);
    expect(result.exitCode).toBe(0);
  });
});
