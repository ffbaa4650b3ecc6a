export { createRuntimeContext } from './context.js';
export type { RuntimeContractOptions } from './contract-case.js';
export { FakeClock, settle } from './fake-clock.js';
export { type FaultPlan, FaultyRuntime } from './faulty-runtime.js';
export type { Fault, InjectedFault } from './faulty-transport.js';
export {
  type MessagePattern,
  type RecordedMessage,
  type RecordingOptions,
  RecordingTransport,
} from './recording-transport.js';
export { createReferenceServer, type ReferenceMode, type ReferenceServer } from './reference-server.js';
export { referenceServerPath } from './reference-server-path.js';
export { type ContractTest, runtimeContract } from './runtime-contract.js';
export type { ScriptedInstance } from './scripted-instance.js';
export {
  hold,
  type Json,
  ScriptedError,
  type ScriptedHandler,
  ScriptedServer,
  type ScriptedTool,
  type ServerScript,
} from './scripted-server.js';
export { createTestGateway, type TestGateway, type TestGatewayOptions, type TestServer } from './test-gateway.js';
