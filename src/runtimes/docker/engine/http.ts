import type { IncomingMessage, RequestOptions } from 'node:http';
import type { Duplex } from 'node:stream';
import { withoutControls } from '../../../transport/output-tail.js';
import { lazyNode } from '../../../util/lazy-node.js';
import { EngineError } from './engine.js';

/** How to reach an engine. */
export interface Address {
  /** As DOCKER_HOST would say it. */
  readonly name: string;
  /** The path of a socket on this machine. */
  readonly socketPath?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly tls?: TlsFiles | undefined;
  /** Makes the connection, for what Node cannot reach by itself. */
  readonly connect?: (() => Duplex) | undefined;
}

/** Certificates, as their text. */
export interface TlsFiles {
  readonly ca?: Buffer | undefined;
  readonly cert?: Buffer | undefined;
  readonly key?: Buffer | undefined;
  readonly rejectUnauthorized?: boolean | undefined;
}

export interface Call {
  readonly method: 'GET' | 'POST' | 'DELETE' | 'HEAD';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>> | undefined;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly signal: AbortSignal;
}

/** An answer is small: what is larger is no answer of an engine. */
const maxAnswerBytes = 16 * 1024 * 1024;
/** When a silent connection over TCP is asked for a sign of life: who waits for a container may hear nothing for hours. */
const keepAliveMs = 30_000;

/** Sends a call. The answer's status is the caller's to judge, and its body the caller's to read or to destroy. */
export function send(address: Address, call: Call): Promise<IncomingMessage> {
  return exchange(address, call, false) as Promise<IncomingMessage>;
}

/** Sends a call that turns its connection into a stream of bytes. */
export async function upgrade(address: Address, call: Call): Promise<Duplex> {
  const answer = await exchange(address, call, true);
  if (!('statusCode' in answer)) {
    return answer as Duplex;
  }
  const message = await expectOk(answer, call.signal);
  // Its body may be the stream, without an end.
  message.destroy();
  throw new EngineError(
    `the engine answered with status ${message.statusCode}, and no stream; is there a proxy between?`,
  );
}

/** The JSON of an answer, read to its end. */
export async function readJson(message: IncomingMessage, signal: AbortSignal): Promise<unknown> {
  const text = await readText(message, signal);
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch (cause) {
    // Without a status: what the engine did is not known.
    throw new EngineError('the engine answered with what is no JSON; is there a proxy between?', { cause });
  }
}

/** Reads an answer that is expected to be good, or throws what it says instead. */
export async function expectOk(message: IncomingMessage, signal: AbortSignal): Promise<IncomingMessage> {
  const status = message.statusCode ?? 0;
  if (status < 200 || status >= 400) {
    throw await toError(message, signal);
  }
  return message;
}

async function toError(message: IncomingMessage, signal: AbortSignal): Promise<EngineError> {
  const status = message.statusCode ?? 0;
  const text = await readText(message, signal).catch(() => '');
  signal.throwIfAborted();
  try {
    const { message: said } = JSON.parse(text) as { message?: unknown };
    if (typeof said === 'string' && said !== '') {
      return new EngineError(withoutControls(said).slice(0, 2000), { status });
    }
  } catch {
    // Proxies on the way answer in their own words.
  }
  const said = withoutControls(text.slice(0, 4096).replaceAll(/<[^>]*>|\s+/g, ' '))
    .replaceAll(/ +/g, ' ')
    .trim();
  return new EngineError(`the engine answered with status ${status}${said && `: ${said.slice(0, 300)}`}`, { status });
}

function readText(message: IncomingMessage, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const abort = () => {
      message.destroy();
      reject(signal.reason);
    };
    signal.addEventListener('abort', abort, { once: true });
    const settle = (run: () => void) => {
      signal.removeEventListener('abort', abort);
      run();
    };
    message.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > maxAnswerBytes) {
        message.destroy();
        settle(() => reject(new EngineError(`the engine's answer has more than ${maxAnswerBytes} bytes`)));
        return;
      }
      chunks.push(chunk);
    });
    message.once('end', () => settle(() => resolve(Buffer.concat(chunks).toString('utf8'))));
    message.once('error', (error) => settle(() => reject(lost(error))));
    message.once('close', () => settle(() => reject(lost(undefined))));
    if (signal.aborted) {
      abort();
    }
  });
}

/** The connection broke, or never came about. */
function lost(cause: unknown): EngineError {
  const { message, code } = Object(cause) as Partial<NodeJS.ErrnoException>;
  // That of several addresses, none of which could be connected to, says nothing.
  const detail = message || code || 'the connection was closed';
  return new EngineError(`lost the connection to the engine: ${detail}`, { cause });
}

function exchange(address: Address, call: Call, hijack: boolean): Promise<IncomingMessage | Duplex> {
  const { signal, method, body } = call;
  if (signal.aborted) {
    return Promise.reject(signal.reason);
  }
  const text = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  const options: RequestOptions = {
    method,
    path: pathOf(call),
    headers: {
      // Over TCP it is the address, by which TLS checks the certificate; elsewhere HTTP just wants one.
      ...(address.host === undefined && { host: 'docker' }),
      ...(text !== undefined && { 'content-type': 'application/json', 'content-length': text.length }),
      ...(text === undefined && method === 'POST' && { 'content-length': 0 }),
      ...(hijack && { connection: 'Upgrade', upgrade: 'tcp' }),
      ...call.headers,
    },
    ...target(address),
  };
  return new Promise((resolve, reject) => {
    const request = lazyNode[address.tls === undefined ? 'http' : 'https'].request(options);
    const abort = () => request.destroy(new Error('aborted'));
    signal.addEventListener('abort', abort, { once: true });
    const settle = (run: () => void) => {
      signal.removeEventListener('abort', abort);
      run();
    };
    request.once('socket', (socket) => socket.setKeepAlive(true, keepAliveMs));
    request.once('upgrade', (_message, socket: Duplex, head: Buffer) => {
      // Stays for good: one that breaks before anybody listens would end the host.
      socket.on('error', () => {});
      if (head.length > 0) {
        socket.unshift(head);
      }
      settle(() => resolve(socket));
    });
    request.once('response', (message) => settle(() => resolve(message)));
    request.on('error', (cause) => settle(() => reject(signal.aborted ? signal.reason : lost(cause))));
    request.end(text);
  });
}

function target({ socketPath, host, port, tls, connect }: Address): RequestOptions {
  if (connect !== undefined) {
    // With an agent, whichever, Node would not call this.
    return { createConnection: connect as unknown as NonNullable<RequestOptions['createConnection']> };
  }
  // A connection for each call: none is left idle, and a half-dead one is never used again.
  const agent = new lazyNode[tls === undefined ? 'http' : 'https'].Agent({ keepAlive: false });
  return socketPath === undefined ? { host, port, ...tls, agent } : { socketPath, agent };
}

function pathOf({ path, query = {} }: Call): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) {
      parameters.set(name, String(value));
    }
  }
  const text = parameters.toString();
  return text === '' ? path : `${path}?${text}`;
}
