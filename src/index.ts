export type {
  Catalog,
  CatalogInput,
  Duration,
  Environment,
  HealthInput,
  Isolation,
  OnReload,
  ParsedRuntime,
  Protocol,
  RestartInput,
  RuntimeInput,
  RuntimeInputOf,
  ServerInput,
  ToolsInput,
} from './catalog/catalog.js';
export type { ConvertedServer } from './catalog/convert/convert-server.js';
export { type ToCatalogOptions, toCatalog } from './catalog/convert/to-catalog.js';
export { type LoadCatalogOptions, loadCatalog } from './catalog/load-catalog.js';
export { type ParseCatalogOptions, parseCatalog } from './catalog/parse-catalog.js';
export type { InterceptedRequest, Interceptor } from './endpoint/intercept.js';
export type { ListItem, ListKind } from './endpoint/list-kinds.js';
export type { NameKind, NameOrigin, NamingFunction } from './endpoint/names.js';
export type { GatewaySnapshot, ServerSnapshot } from './endpoint/snapshot.js';
export {
  type AuthInfo,
  type CatalogIssue,
  type ExitInfo,
  errorNumbers,
  GatewayError,
  type GatewayErrorCode,
  type GatewayErrorOptions,
} from './errors.js';
export type {
  GatewayEvent,
  ListIncompleteEvent,
  Phase,
  PhaseEvent,
  ProgressEvent,
  TroubleEvent,
  UriConflictEvent,
} from './events.js';
export { createGateway } from './gateway.js';
export type {
  ConnectOptions,
  FetchOptions,
  Gateway,
  GatewayLimits,
  GatewayNames,
  GatewayOptions,
  GatewayTransport,
  MergedOptions,
  ReloadResult,
  ServerCheck,
  ServerConnectOptions,
  ServerDescription,
  StopOptions,
} from './gateway-api.js';
export type { BuiltinRuntime, GatewayCatalog, GatewayServer } from './gateway-catalog.js';
export type { NodeServerTransport } from './hosts/node/server-transport.js';
export { createNodeSessions, type NodeSessions } from './hosts/node-sessions.js';
export type { HttpRefusalReason } from './hosts/refusal.js';
export type { CloseSessionsOptions, HttpSessionOptions, SessionTransportSettings } from './hosts/session-options.js';
export { createWebSessions, type WebServerTransport, type WebSessions } from './hosts/web-sessions.js';
export { ServerError } from './instance/server-error.js';
export type { InstanceStatus, ServerStatus } from './instance/server-status.js';
export type { Clock } from './options.js';
export type { KubernetesRole } from './roles.js';
export type {
  AccessRule,
  Caller,
  CheckResult,
  RuntimeContext,
  RuntimeFactory,
  RuntimeProgress,
  RuntimeSupport,
  RuntimeTransport,
} from './runtime.js';
export { type DockerOptions, DockerRuntime, type DockerSpec } from './runtimes/docker.js';
export { InProcessRuntime, type InProcessServer, type InProcessSpec } from './runtimes/in-process.js';
export {
  type K8sEnvSource,
  type K8sJobOptions,
  K8sJobRuntime,
  type K8sJobSpec,
  type K8sPodSecurity,
  type K8sToleration,
  type KubeConfigLike,
  type KubernetesOptions,
} from './runtimes/k8s-job.js';
export { type K8sServiceOptions, K8sServiceRuntime, type K8sServiceSpec } from './runtimes/k8s-service.js';
export { type LocalProcessOptions, LocalProcessRuntime, type LocalProcessSpec } from './runtimes/local-process.js';
export {
  type RemoteSseOptions,
  RemoteSseRuntime,
  type RemoteSseSpec,
  type TlsOptions,
} from './runtimes/remote-sse.js';
export type { HeadersFunction } from './runtimes/shared/http-headers.js';
export { type CatalogWatcher, type WatchCatalogOptions, type WatchEvent, watchCatalog } from './watch-catalog.js';
