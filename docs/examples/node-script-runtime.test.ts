// #region contract
import { test } from 'node:test';
import { referenceServerPath, runtimeContract } from 'open-mcp-gateway/testing';
import { NodeScriptRuntime } from './node-script-runtime.ts';

runtimeContract(test, {
  create: () => new NodeScriptRuntime(),
  working: (args) => ({ script: referenceServerPath(), args: [...args] }),
  broken: () => ({ script: 'no-such-script.js' }),
});
// #endregion contract
