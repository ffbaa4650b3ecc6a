import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { createGateway, parseCatalog } from '../../src/index.js';
import { resolve } from './runtimes.js';
import { toCatalog, yamlBlocks } from './yaml-blocks.js';

const page = readFileSync(new URL('seed-blocks.md', import.meta.url), 'utf8');
const blocks = yamlBlocks(page);

const env = { DB_PASSWORD: 'db-password', TOKEN: 'the-token', API_TOKEN: 'api-token', TENANT_ID: 'tenant-7' };

/** What the built-in runtimes would start for each entry of a block. */
async function described(block: string): Promise<Record<string, unknown>[]> {
  await using gateway = createGateway(await parseCatalog(toCatalog(block)), { env });
  return gateway.status().map(({ id }) => gateway.describe(id).details as Record<string, unknown>);
}

// In the order of the page.
const shown: readonly (readonly object[])[] = [
  [{ argv: ['my-mcp-server', '--transport=stdio', '--verbose'], working_dir: '/opt/mcp' }],
  [{ argv: ['echo-mcp'], working_dir: process.cwd() }],
  [{ argv: ['postgres-mcp', '--host=localhost', '--port=5432', '--transport=stdio'] }],
  [{ argv: ['npx', '-y', '@modelcontextprotocol/server-filesystem', '/workspace'] }],
  [{ argv: ['python', '-m', 'my_mcp_server'], working_dir: '/opt/my-server' }],
  [{ argv: ['postgres-mcp'], env: expect.arrayContaining(['PGHOST', 'PGPASSWORD', 'PGPORT']) }],
  [{ url: 'https://mcp.example.com/server', headers: ['Authorization', 'X-Custom-Header'] }],
  [{ url: 'https://mcp.example.com/api', headers: [] }],
  [{ url: 'https://mcp.internal.company.com/tools', headers: ['Authorization'] }],
  [{ url: 'https://mcp.vendor.com/v1', headers: ['Authorization', 'X-Request-Source', 'X-Tenant-ID'] }],
  [
    {
      name: 'my-mcp-server',
      env_file: `${process.cwd()}/.env`,
      container: {
        Image: 'mcp/my-server:latest',
        HostConfig: {
          NetworkMode: 'mcp-network',
          Mounts: [{ Type: 'bind', Source: '/host/data', Target: '/container/data', ReadOnly: true }],
        },
      },
    },
  ],
  [
    {
      job: {
        metadata: { namespace: 'mcp-servers' },
        spec: {
          template: {
            spec: {
              serviceAccountName: 'mcp-sa',
              containers: [
                {
                  image: 'mcp/my-server:v1.0',
                  resources: { requests: { memory: '128Mi', cpu: '100m' }, limits: { memory: '256Mi', cpu: '500m' } },
                },
              ],
            },
          },
        },
      },
    },
  ],
  [{ namespace: 'mcp-servers', service: 'my-mcp-service', port: 8080 }],
  [{ argv: ['dev-mcp'] }, { url: 'https://db-mcp.internal/' }, { container: { Image: 'mcp/sandbox:latest' } }],
];

describe('a documented block is valid:', () => {
  test('all of them are here', () => {
    expect(blocks).toHaveLength(14);
  });

  test.each(blocks.map((block, index) => [index + 1, block] as const))('block %d', async (number, block) => {
    const details = await described(block);
    expect(details).toMatchObject(shown[number - 1] ?? []);
    expect(JSON.stringify(details)).not.toContain('${');
  });

  test('with its variables replaced', async () => {
    const block = blocks.find((text) => text.includes('PGHOST')) ?? '';
    expect(resolve(await parseCatalog(toCatalog(block)), env)).toMatchObject([
      {
        id: 'postgres',
        env: { PGHOST: 'localhost', PGPORT: '5432', PGPASSWORD: 'db-password' },
        runtime: { type: 'local-process', spec: { command: 'postgres-mcp' } },
        secrets: new Map([['db-password', '${DB_PASSWORD}']]),
      },
    ]);
  });
});
