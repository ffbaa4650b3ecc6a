import { GatewayError } from '../../../errors.js';
import { codeOf } from '../../../util/causes.js';
import { textOf } from '../../../util/text-of.js';
import { type ResourceRef, showResource } from './resources.js';

/**
 * What kind of failure a call to the API server ended in.
 *
 * - `unauthorized`: it does not know who we are
 * - `forbidden`: it knows, and we may not
 * - `crossed`: a creation that came together with others, which take from the same quota; nothing was made
 * - `gone`: the version that a watch asked for is too old
 * - `refused`: any other answer that is no success
 * - `unreachable`: no answer
 * - `foreign`: one that does not come from it
 */
export type KubernetesFailure =
  | 'unauthorized'
  | 'forbidden'
  | 'not-found'
  | 'conflict'
  | 'crossed'
  | 'gone'
  | 'invalid'
  | 'refused'
  | 'unreachable'
  | 'foreign';

/** A call to the API server failed. */
export class KubernetesError extends Error {
  readonly failure: KubernetesFailure;
  /** HTTP status of the answer, if there was one. */
  readonly status: number | undefined;
  /** What the API server said. */
  readonly said: string | undefined;

  constructor(
    failure: KubernetesFailure,
    message: string,
    options: { readonly status?: number; readonly said?: string; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'KubernetesError';
    this.failure = failure;
    this.status = options.status;
    this.said = options.said;
  }
}

/** True for a failure of that kind. */
export function isFailure(error: unknown, ...failures: readonly KubernetesFailure[]): error is KubernetesError {
  return error instanceof KubernetesError && failures.includes(error.failure);
}

/**
 * True when what was asked may come about all the same: it has not answered, or an API server that did not hear in time from
 * where it keeps its data.
 */
export function mayBeDone(error: unknown): boolean {
  return isFailure(error, 'unreachable', 'foreign') || (error instanceof KubernetesError && (error.status ?? 0) >= 500);
}

/** True when the same question may be answered a moment later: the API server is not there, in trouble or busy. */
export function mayPass(error: unknown): boolean {
  return mayBeDone(error) || (error instanceof KubernetesError && error.status === 429);
}

/** `error` as what `open` rejects with. */
export function toStartError(error: unknown, server: string): unknown {
  if (!(error instanceof KubernetesError)) return error;
  return new GatewayError('START_FAILED', error.message, { server, cause: error, delivered: false });
}

/** What to do where a right is missing. */
export const grantIt = 'grant it, as in the Role that gateway.rbac() gives';

const byStatus: Readonly<Record<number, KubernetesFailure>> = {
  400: 'invalid',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not-found',
  409: 'conflict',
  410: 'gone',
  422: 'invalid',
};

/** What API servers since 1.35 say where `get` is allowed for a WebSocket, and `create`, which they ask for besides, is not. */
const withoutVerb = /^pods "[^"]*" is forbidden:\s*(?:RBAC: .*)?$/s;

/** The error for an answer with `status`, whose body is a Status object or plain text. */
export function answerError(status: number, body: string, verb: string, ref: ResourceRef): KubernetesError {
  const { said, reason } = readStatus(body);
  const isCrossed = status === 409 && verb === 'create' && reason === 'Conflict';
  // A policy or webhook says no with the status that it likes, to somebody who is known.
  const isDenied = status === 401 && /\bdenied (?:the )?request\b/.test(said);
  const failure = isCrossed ? 'crossed' : isDenied ? 'forbidden' : (byStatus[status] ?? 'refused');
  const wantsCreate = failure === 'forbidden' && ref.subresource !== undefined && withoutVerb.test(said);
  const what = `${wantsCreate ? 'create' : verb} ${showResource(ref)}`;
  const words: Partial<Record<KubernetesFailure, string>> = {
    unauthorized: `the API server does not accept the credentials of the kubeconfig (401), asked to ${what}`,
    forbidden: `may not ${what} (${status})`,
    'not-found': `cannot ${what}: it is not there (404)`,
  };
  const text = words[failure] ?? `cannot ${what} (${status})`;
  // A quota or a webhook may forbid something too.
  const remedy = failure === 'forbidden' && (wantsCreate || /cannot \w+ resource /.test(said)) ? `; ${grantIt}` : '';
  const told = said.replace(/[:\s]+$/, '');
  return new KubernetesError(failure, told === '' ? text : `${text}: ${told}${remedy}`, { status, said });
}

function readStatus(body: string): { readonly said: string; readonly reason?: unknown } {
  try {
    const { message, reason } = JSON.parse(body) as { message?: unknown; reason?: unknown };
    if (typeof message === 'string') return { said: message.slice(0, 1000), reason };
  } catch {
    // Some answers, those of the kubelet among them, are plain text.
  }
  return { said: body.trim().slice(0, 300) };
}

/** The error for an answer with `status` that is not what was asked for: one below 400 leads elsewhere, as to where one logs in. */
export function refusalError(
  status: number,
  body: string,
  server: string,
  verb: string,
  ref: ResourceRef,
): KubernetesError {
  return status < 400 ? foreignError(body, server, verb, ref) : answerError(status, body, verb, ref);
}

/** The error for an answer that no API server gives: of a proxy, most likely. It is not quoted, as it may hold a Secret. */
export function foreignError(answer: string, server: string, verb: string, ref: ResourceRef): KubernetesError {
  const came = /^\s*</.test(answer) ? 'a page of HTML' : 'what is no object of Kubernetes';
  const said = `the API server ${server} answered with ${came}, asked to ${verb} ${showResource(ref)}`;
  const remedy = 'is there a proxy before it that wants a login? check the cluster in the kubeconfig';
  return new KubernetesError('foreign', `${said}; ${remedy}`);
}

/** The error for an object that is one, but not as Kubernetes has it. */
export function flawError(flaw: string, server: string, verb: string, ref: ResourceRef): KubernetesError {
  const said = `the API server ${server} answered with ${flaw}, asked to ${verb} ${showResource(ref)}`;
  return new KubernetesError('foreign', `${said}; is it one of Kubernetes?`);
}

/** The error for a call that got no answer. */
export function networkError(cause: unknown, server: string): KubernetesError {
  const code = codeOf(cause);
  const why = Object.hasOwn(remedies, code) ? remedies[code] : textOf(cause);
  const text = `the API server ${server} cannot be reached: ${why}${code === '' ? '' : ` (${code})`}`;
  return new KubernetesError('unreachable', text, { cause });
}

const remedies: Readonly<Record<string, string>> = {
  ENOTFOUND: 'its name is not known; check the cluster in the kubeconfig, and DNS',
  EAI_AGAIN: 'its name could not be looked up; is DNS reachable?',
  ECONNREFUSED: 'nobody listens there; does the cluster run?',
  ECONNRESET: 'it cut the connection',
  EPIPE: 'it cut the connection',
  ETIMEDOUT: 'it does not answer; is a firewall or a VPN in between?',
  EHOSTUNREACH: 'there is no way to it; check the network',
  ENETUNREACH: 'there is no way to it; check the network',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is not trusted; check certificate-authority in the kubeconfig',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is not trusted; check certificate-authority in the kubeconfig',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is not trusted; check certificate-authority in the kubeconfig',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is not trusted; check certificate-authority in the kubeconfig',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name; check tls-server-name in the kubeconfig',
};
