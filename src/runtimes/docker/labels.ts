import { formatOwner, type Owner } from './owner.js';

/** Names the process that owns a container: see `Owner`. */
export const ownerLabel = 'open-mcp-gateway.owner';
export const gatewayLabel = 'open-mcp-gateway.gateway';
export const instanceLabel = 'open-mcp-gateway.instance';
export const serverLabel = 'open-mcp-gateway.server';

/** What every container of ours is marked with. */
export function toLabels(
  {
    server,
    gatewayId,
    instanceId,
  }: { readonly server: string; readonly gatewayId: string; readonly instanceId: string },
  owner: Owner,
): Record<string, string> {
  return {
    [ownerLabel]: formatOwner(owner),
    [gatewayLabel]: gatewayId,
    [instanceLabel]: instanceId,
    [serverLabel]: server,
  };
}
