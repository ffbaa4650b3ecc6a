import type { GatewayServer } from 'open-mcp-gateway';
// #region load
import { createGateway, loadCatalog } from 'open-mcp-gateway';

await using gateway = createGateway(await loadCatalog(new URL('./two-runtimes.yaml', import.meta.url)));
// #endregion load
console.log(gateway.status().map(({ id }) => id));

{
  // #region code
  await using gateway = createGateway({
    servers: [{ id: 'postgres', runtime: { type: 'local-process', command: 'postgres-mcp' }, idle_timeout: '10m' }],
  });
  // #endregion code
  console.log(gateway.status().map(({ id }) => id));
}

{
  // #region spread
  const base = await loadCatalog(new URL('./two-runtimes.yaml', import.meta.url));
  await using gateway = createGateway({
    servers: [
      ...base.servers.map((entry) => ({ ...entry, tags: [] })),
      { id: 'postgres', runtime: { type: 'local-process', command: 'postgres-mcp' } },
    ],
  });
  // #endregion spread
  console.log(gateway.status().map(({ id }) => id));
}

{
  // #region steps
  const servers: GatewayServer[] = [];
  for (const command of ['postgres-mcp', 'files-mcp']) {
    servers.push({ id: command, runtime: { type: 'local-process', command } });
  }
  await using gateway = createGateway({ servers });
  // #endregion steps
  console.log(gateway.status().map(({ id }) => id));
}
