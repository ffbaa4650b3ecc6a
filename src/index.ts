export type {
  Catalog,
  CatalogInput,
  RuntimeInput,
  ServerInput,
} from './catalog/catalog.js';
export { type LoadCatalogOptions, loadCatalog } from './catalog/load-catalog.js';
export { type ParseCatalogOptions, parseCatalog } from './catalog/parse-catalog.js';
export {
  type CatalogIssue,
  type ExitInfo,
  GatewayError,
  type GatewayErrorCode,
  type GatewayErrorOptions,
} from './errors.js';
export type { GatewayEvent, Phase, PhaseEvent, ProgressEvent, TroubleEvent } from './events.js';
export {
  type BuiltinRuntime,
  type ConnectOptions,
  createGateway,
  type Gateway,
  type GatewayOptions,
  type ServerCheck,
  type ServerDescription,
  type StopOptions,
} from './gateway.js';
export type { InstanceStatus, ServerStatus } from './instance/supervisor.js';
export type { Clock } from './options.js';
export type {
  Caller,
  CheckResult,
  RuntimeContext,
  RuntimeFactory,
  RuntimeProgress,
  RuntimeSupport,
  RuntimeTransport,
} from './runtime.js';
export { InProcessRuntime, type InProcessServer, type InProcessSpec } from './runtimes/in-process.js';
export { type LocalProcessOptions, LocalProcessRuntime, type LocalProcessSpec } from './runtimes/local-process.js';
