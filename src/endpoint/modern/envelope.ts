import type { RpcError } from '../../instance/exchanges.js';
import { logLevels } from '../../instance/tell-log-level.js';
import type { JSONRPCRequest } from '../../sdk.js';
import { metaKeys, modernErrors, modernRevision } from '../../transport/modern.js';
import { isTooNested } from '../../transport/nesting.js';
import { tasksExtension } from '../../transport/tasks.js';
import { type Fields, isFields } from '../../util/fields.js';

/** What a request of the stateless era says of its sender. */
export interface Envelope {
  readonly capabilities: Fields;
  readonly clientInfo: Fields | undefined;
  /** From which level on it wants to read the log; undefined: nothing of it. */
  readonly logLevel: string | undefined;
}

/** Of a request that has no envelope at all. */
export const missingEnvelope: RpcError = {
  code: -32602,
  message: `params._meta["${metaKeys.protocolVersion}"] is missing`,
  data: { key: metaKeys.protocolVersion },
};

/** For what needs a caller that has the extension for tasks. */
export function missingTasks(what: string): RpcError {
  return {
    code: modernErrors.missingCapability,
    message: `${what} the extension ${tasksExtension}`,
    data: { requiredCapabilities: { extensions: { [tasksExtension]: {} } } },
  };
}

/** Reads the envelope of a request, or says what is wrong with it. */
export function readEnvelope({ params = {} }: JSONRPCRequest): Envelope | RpcError {
  const meta: Fields = { ...params._meta };
  const version = meta[metaKeys.protocolVersion];
  if (typeof version !== 'string') {
    return invalid(metaKeys.protocolVersion, 'must be a string');
  }
  if (version !== modernRevision) {
    const message = `revision ${version} is not spoken here`;
    return {
      code: modernErrors.unsupportedVersion,
      message,
      data: { supported: [modernRevision], requested: version },
    };
  }
  const capabilities = meta[metaKeys.clientCapabilities];
  if (!isFields(capabilities)) {
    return invalid(metaKeys.clientCapabilities, capabilities === undefined ? 'is missing' : 'must be an object');
  }
  if (isTooNested(capabilities)) {
    return invalid(metaKeys.clientCapabilities, 'is nested too deeply');
  }
  const clientInfo = meta[metaKeys.clientInfo];
  if (clientInfo !== undefined && !(isFields(clientInfo) && typeof clientInfo.name === 'string')) {
    return invalid(metaKeys.clientInfo, 'must be an object with a name');
  }
  const logLevel = meta[metaKeys.logLevel];
  if (logLevel !== undefined && !logLevels.includes(logLevel)) {
    return invalid(metaKeys.logLevel, `must be one of ${logLevels.join(', ')}`);
  }
  return { capabilities, clientInfo, logLevel: logLevel as string | undefined };
}

function invalid(key: string, problem: string): RpcError {
  return { code: -32602, message: `params._meta["${key}"] ${problem}`, data: { key, problem } };
}
