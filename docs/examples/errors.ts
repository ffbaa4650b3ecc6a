import { createGateway, GatewayError } from 'open-mcp-gateway';

// #region issues
try {
  createGateway({ servers: [{ id: 'files', runtime: { type: 'local-process', command: '' } }] });
} catch (error) {
  if (!GatewayError.is(error)) throw error;
  for (const { path, message } of error.issues ?? []) console.error(error.code, path, message);
}
// #endregion issues
