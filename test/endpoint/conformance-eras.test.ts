import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { createGateway } from '../../src/index.js';
import { runConformance } from '../conformance/run-conformance.js';
import { createFetchHost } from '../hosts/fetch-host.js';

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/conformance/${name}`, import.meta.url));

const cases = [
  { server: 'modern-stdio.ts', requirements: '2026-07-28', scored: 37, known: undefined },
  { server: 'modern-stdio.ts', requirements: '2025-11-25', scored: 30, known: undefined },
  { server: 'stdio.ts', requirements: '2025-11-25', scored: 30, known: undefined },
  { server: 'stdio.ts', requirements: '2026-07-28', scored: 37, known: 'sessions-behind-2026-07-28.yml' },
] as const;

describe.each(cases)('what revision $requirements requires, with $server behind the gateway', (given) => {
  test('is there, but for what is known and why', async () => {
    const { server, requirements, scored, known } = given;
    const runtime = { type: 'local-process', command: process.execPath, args: [fixture(server)] } as const;
    // The scenarios know the tools by their own names.
    const gateway = createGateway({ servers: [{ id: 'fixture', runtime }] }, { names: ({ name }) => name });
    await using _ = gateway;
    await using host = await createFetchHost(gateway);
    const expectedFailures = known === undefined ? undefined : fixture(known);
    const result = await runConformance(host.url, { requirements, expectedFailures });
    // It fails for what is not known to fail, and for what is and passes.
    expect(result.exitCode, result.output).toBe(0);
    expect(result.scenarios.length).toBeGreaterThanOrEqual(scored);
  }, 300_000);
});
