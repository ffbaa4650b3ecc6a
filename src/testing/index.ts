export { createRuntimeContext } from './context.js';
export type { RuntimeContractOptions } from './contract-case.js';
export { createReferenceServer, type ReferenceMode, type ReferenceServer } from './reference-server.js';
export { referenceServerPath } from './reference-server-path.js';
export { type ContractTest, runtimeContract } from './runtime-contract.js';
