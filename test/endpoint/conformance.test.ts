import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { createGateway, type Gateway } from '../../src/index.js';
import { runConformance } from '../conformance/run-conformance.js';
import { createConformanceServer } from '../fixtures/conformance/server.js';
import { createHttpHost } from '../hosts/http-host.js';

const stdio = fileURLToPath(new URL('../fixtures/conformance/stdio.ts', import.meta.url));

const runtimes = {
  'local-process': { type: 'local-process', command: process.execPath, args: [stdio] },
  'in-process': { type: 'in-process', server: () => createConformanceServer() },
} as const;

describe.each(Object.keys(runtimes) as (keyof typeof runtimes)[])(
  'conformance with %s behind the merged peer',
  (type) => {
    const gateways: Gateway[] = [];
    afterAll(() => Promise.all(gateways.map((gateway) => gateway.close({ graceMs: 0 }))));

    test('all 30 active scenarios pass', async () => {
      // The scenarios know the tools by their own names.
      const gateway = createGateway(
        { servers: [{ id: 'fixture', runtime: runtimes[type] }] },
        { names: ({ name }) => name },
      );
      gateways.push(gateway);
      await using host = await createHttpHost((transport) => gateway.serve(transport));
      const result = await runConformance(host.url);
      expect(result.problems, result.output).toEqual([]);
      expect(result.scenarios).toHaveLength(30);
      expect(result.exitCode).toBe(0);
    });
  },
);
