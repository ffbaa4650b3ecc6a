import * as v from 'valibot';
import { headersSchema } from '../shared/http-headers.js';

const label = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;
const labelProblem = 'is not a name that Kubernetes allows: lower-case letters, digits and "-", at most 63 of them';

const name = v.pipe(v.string(), v.nonEmpty('is empty'), v.regex(label, labelProblem));

const portProblem = 'is not a port: a number from 1 to 65535, or the name of a port of the service';
const port = v.union(
  [
    v.pipe(v.number(), v.integer(portProblem), v.minValue(1, portProblem), v.maxValue(65535, portProblem)),
    // Digits too: a variable can give nothing else.
    v.pipe(
      v.string(),
      v.check((text) => label.test(text) && (!isNumber(text) || isPort(Number(text))), portProblem),
    ),
  ],
  portProblem,
);

const path = v.pipe(
  v.string(),
  v.check((text) => /^\/(?!\/)[^#\s\\]*$/.test(text), 'must begin with one "/" and hold neither "#" nor blanks'),
);

/** The fields of a `k8s-service` runtime in a catalog. */
export const k8sServiceSpec = v.strictObject({
  namespace: name,
  service_name: name,
  port,
  path: v.optional(path),
  scheme: v.optional(v.picklist(['http', 'https'])),
  headers: v.optional(headersSchema),
  context: v.optional(v.pipe(v.string(), v.nonEmpty('is empty; leave it out for the current context'))),
  reach: v.optional(v.picklist(['auto', 'dns', 'port-forward'])),
  transport: v.optional(v.picklist(['auto', 'streamable-http', 'sse'])),
});

/** The runtime's part of a `k8s-service` entry. */
export interface K8sServiceSpec {
  /** The namespace of the service. */
  readonly namespace: string;
  /** The name of the service. */
  readonly service_name: string;
  /** The port of the service: its number or its name. */
  readonly port: number | string;
  /**
   * The path of the server's MCP endpoint.
   *
   * @default '/mcp'
   */
  readonly path?: string | undefined;
  /**
   * `https` speaks TLS with the pods; their certificate is checked for `<service_name>.<namespace>.svc`.
   *
   * @default 'http'
   */
  readonly scheme?: 'http' | 'https' | undefined;
  /** Headers of every request. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /**
   * Which context of the kubeconfig.
   *
   * @default its current context
   */
  readonly context?: string | undefined;
  /**
   * `dns` goes to the service from within the cluster, `port-forward` through the API server; `auto` is `dns` in a pod
   * that uses its own service account, and else `port-forward`.
   *
   * @default 'auto'
   */
  readonly reach?: 'auto' | 'dns' | 'port-forward' | undefined;
  /**
   * As for `remote-sse`.
   *
   * @default 'auto'
   */
  readonly transport?: 'auto' | 'streamable-http' | 'sse' | undefined;
}

/** The address of the MCP endpoint, as DNS in the cluster knows it. */
export function serviceUrl({ namespace, service_name, path, scheme }: K8sServiceSpec, port: number): URL {
  return new URL(path ?? '/mcp', `${scheme ?? 'http'}://${service_name}.${namespace}.svc:${port}`);
}

/** The number in `port`, unless it is a name. */
export function portNumber({ port }: Pick<K8sServiceSpec, 'port'>): number | undefined {
  return typeof port === 'number' ? port : isNumber(port) ? Number(port) : undefined;
}

// `0x50` and `1e3` are names of ports.
function isNumber(text: string): boolean {
  return /^\d+$/.test(text);
}

function isPort(number: number): boolean {
  return Number.isInteger(number) && number >= 1 && number <= 65535;
}
