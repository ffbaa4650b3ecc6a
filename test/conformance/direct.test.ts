import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { expect, test } from 'vitest';
import { createConformanceServer } from '../fixtures/conformance/server.js';
import { createHttpHost } from '../hosts/http-host.js';
import { runConformance } from './run-conformance.js';

test('a server that can do nothing fails what it should, by name', async () => {
  await using host = await createHttpHost((transport) =>
    new Server({ name: 'bare', version: '1.0.0' }).connect(transport),
  );
  const result = await runConformance(host.url);

  expect(result.exitCode).toBe(1);
  expect(result.problems).toContain('tools-list: tools-list: Failed: MCP error -32601: Method not found');
  expect(result.scenarios).toHaveLength(30);
  expect(result.scenarios.find(({ name }) => name === 'ping')?.ok).toBe(true);
  expect(result.scenarios.find(({ name }) => name === 'tools-list')?.ok).toBe(false);
}, 180_000);

test('the fixture behind the host, without a gateway, passes every active scenario', async () => {
  await using host = await createHttpHost((transport) => createConformanceServer().connect(transport));
  const result = await runConformance(host.url);

  expect(result.problems, result.output).toEqual([]);
  expect(result.exitCode, result.output).toBe(0);
  expect(result.scenarios).toHaveLength(30);
  expect(result.failed).toBe(0);
}, 180_000);
