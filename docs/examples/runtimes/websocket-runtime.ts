import { GatewayError, type RuntimeContext, type RuntimeFactory } from 'open-mcp-gateway';
import WebSocket from 'ws';
import * as z from 'zod';
import { WebSocketTransport } from './websocket-transport.ts';

const webSocketSpec = z.strictObject({ url: z.url({ protocol: /^wss?$/ }) });
type WebSocketSpec = z.infer<typeof webSocketSpec>;

/** Reaches servers that speak MCP over WebSocket, a message a frame. */
export class WebSocketRuntime implements RuntimeFactory<WebSocketSpec> {
  readonly type = 'websocket';
  readonly spec = webSocketSpec;
  // A server that runs elsewhere: it has its own environment, and nobody here sees its stderr or its exit code.
  readonly supports = { env: false, stderr: false, exit: false, starts: false };

  /** Whether anybody answers there. Opens no session. */
  async check({ url }: WebSocketSpec, { signal }: RuntimeContext) {
    signal.throwIfAborted();
    try {
      await fetch(url.replace(/^ws/, 'http'), { signal, method: 'HEAD' });
      return { ok: true, problems: [] };
    } catch (error) {
      signal.throwIfAborted();
      return { ok: false, problems: [`${url} cannot be reached: ${reasonOf(error)}`] };
    }
  }

  describe({ url }: WebSocketSpec) {
    return { url };
  }

  async open({ url }: WebSocketSpec, context: RuntimeContext) {
    const { signal, server, limits } = context;
    signal.throwIfAborted();
    context.report('starting');
    signal.throwIfAborted(); // whoever hears of the phase may abort at once
    const socket = new WebSocket(url, 'mcp', { maxPayload: limits.maxMessageBytes });
    // Before anything else: what comes with the handshake must not be missed.
    const transport = new WebSocketTransport(socket, context);
    await new Promise<void>((resolve, reject) => {
      const abort = () => {
        socket.terminate();
        reject(signal.reason);
      };
      signal.addEventListener('abort', abort, { once: true });
      socket.once('open', () => {
        signal.removeEventListener('abort', abort);
        resolve();
      });
      socket.once('error', (cause) => {
        signal.removeEventListener('abort', abort);
        reject(
          signal.aborted
            ? signal.reason
            : new GatewayError('START_FAILED', `${url} cannot be reached: ${reasonOf(cause)}`, { server, cause }),
        );
      });
    });
    signal.throwIfAborted();
    return transport;
  }
}

/** `fetch` and `ws` keep the reason of a refused connection apart from "failed". */
function reasonOf(error: unknown): string {
  const { cause, code, message } = error as { cause?: unknown; code?: string; message?: string };
  return cause === undefined ? message || code || String(error) : reasonOf(cause);
}
