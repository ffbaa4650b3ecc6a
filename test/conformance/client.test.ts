import { describe, expect, test } from 'vitest';
import { runClientConformance, runStatelessClientConformance } from './run-conformance.js';

const scenarios = [
  'initialize',
  'tools_call',
  'elicitation-sep1034-client-defaults',
  'auth/metadata-default',
  'auth/metadata-var1',
  'auth/metadata-var2',
  'auth/metadata-var3',
  'auth/basic-cimd',
  'auth/scope-from-www-authenticate',
  'auth/scope-from-scopes-supported',
  'auth/scope-omitted-when-undefined',
  'auth/scope-step-up',
  'auth/scope-retry-limit',
  'auth/token-endpoint-auth-basic',
  'auth/token-endpoint-auth-post',
  'auth/token-endpoint-auth-none',
  'auth/pre-registration',
  'auth/2025-03-26-oauth-metadata-backcompat',
  'auth/2025-03-26-oauth-endpoint-fallback',
  'auth/resource-mismatch',
  'auth/offline-access-scope',
  'auth/offline-access-not-supported',
  'auth/client-credentials-jwt',
  'auth/client-credentials-basic',
  'auth/cross-app-access-complete-flow',
];

async function expectPass(scenario: string, run = runClientConformance): Promise<void> {
  const result = await run(scenario);
  expect(result.problems, result.output).toEqual([]);
  expect(result.scenarios).toMatchObject([{ name: scenario, ok: true }]);
  expect(result.exitCode).toBe(0);
}

describe('client scenarios of the conformance tool, through remote-sse', () => {
  test.each(scenarios)('%s', (scenario) => expectPass(scenario));

  // The scenario warns of a reconnection 200 ms late, which a busy machine alone can bring about.
  test('sse-retry', { retry: 3 }, () => expectPass('sse-retry'));

  test('a client that does nothing fails', async () => {
    const result = await runClientConformance('tools_call', { command: `${process.execPath} --version` });
    expect(result.exitCode).toBe(1);
    expect(result.scenarios).toMatchObject([{ name: 'tools_call', ok: false }]);
    expect(result.problems).not.toEqual([]);
  });
});

describe('client scenarios of the later conformance tool, through the merged peer', () => {
  test.each([
    'request-metadata',
    'sep-2322-client-request-state',
    'http-standard-headers',
    'http-custom-headers',
    'http-invalid-tool-headers',
    'json-schema-ref-no-deref',
    'json-schema-2020-12-preservation',
  ])('%s', (scenario) => expectPass(scenario, runStatelessClientConformance));
});
