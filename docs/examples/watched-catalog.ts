import { createGateway, loadCatalog, watchCatalog } from 'open-mcp-gateway';

// #region watch
const file = new URL('two-runtimes.yaml', import.meta.url);
await using gateway = createGateway(await loadCatalog(file));
await using watcher = watchCatalog(file, gateway, {
  onEvent: (event) => {
    if (event.type === 'reload-failed') {
      console.error(event.error.message);
    }
  },
});
// #endregion watch
await watcher.ready;
console.log(gateway.status().map(({ id }) => id));
