/** Prints the Roles with which the entries of a catalog run, as one object for `kubectl apply -f -`. */
import { createGateway, loadCatalog } from 'open-mcp-gateway';

// #region roles
await using gateway = createGateway(await loadCatalog(process.env.CATALOG ?? 'catalog.yaml'));
console.log(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: gateway.rbac() }));
// #endregion roles
