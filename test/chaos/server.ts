/**
 * The MCP server of the chaos, the same in every place: it answers each call with the token and the caller that the call
 * names, and notes each token in a file, so that somebody else can see which calls were executed, and how often.
 *
 *     node server.ts stdio
 *     node server.ts http <port>      tells its port through IPC, when there is any
 *
 * CHAOS_SERVER: the entry that it stands for. CHAOS_LOG: the folder of its file.
 */
import { randomUUID } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { setTimeout as wait } from 'node:timers/promises';

/** The arguments of a call. */
export interface ChaosCall {
  readonly token: string;
  readonly caller: string;
  /** How long it takes. */
  readonly ms: number;
}

interface Message {
  readonly id?: number | string;
  readonly method?: string;
  readonly params?: {
    readonly protocolVersion?: string;
    readonly arguments?: ChaosCall;
    readonly _meta?: { readonly progressToken?: number | string };
  };
}

/** Answers a message; `tell` is also given the progress of a call. */
export type Answering = (message: object, tell: (message: object) => void) => Promise<void>;

export function createAnswering(server: string, logFolder: string): Answering {
  const file = `${logFolder}/${server}-${randomUUID()}`;
  const results: Record<string, (params: NonNullable<Message['params']>) => object> = {
    initialize: ({ protocolVersion }) => ({
      protocolVersion,
      capabilities: { tools: {} },
      serverInfo: { name: 'chaos', version: '1' },
    }),
    'tools/list': () => ({ tools: [{ name: 'echo', inputSchema: { type: 'object' } }] }),
    ping: () => ({}),
  };
  return async (message, tell) => {
    const { id, method = '', params = {} } = message as Message;
    if (id === undefined) return;
    if (method === 'tools/call') {
      const { token, caller, ms } = params.arguments as ChaosCall;
      appendFileSync(file, `${token}\n`);
      const { progressToken } = params._meta ?? {};
      if (progressToken !== undefined) {
        const progress = { progressToken, progress: 1, message: token };
        tell({ jsonrpc: '2.0', method: 'notifications/progress', params: progress });
      }
      await wait(ms);
      const content = [{ type: 'text', text: JSON.stringify({ token, caller, server }) }];
      tell({ jsonrpc: '2.0', id, result: { content } });
      return;
    }
    const result = results[method]?.(params);
    const error = { code: -32601, message: `${method} is unknown` };
    tell({ jsonrpc: '2.0', id, ...(result === undefined ? { error } : { result }) });
  };
}

function serveStdio(answer: Answering): void {
  createInterface({ input: process.stdin })
    .on(
      'line',
      (line) => void answer(JSON.parse(line), (message) => process.stdout.write(`${JSON.stringify(message)}\n`)),
    )
    .once('close', () => process.exit(0));
}

function serveHttp(answer: Answering, port: number): void {
  const sessions = new Set<string>();
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const session = request.headers['mcp-session-id'];
    if (request.url === '/ready') {
      response.end();
    } else if (request.method === 'POST') {
      const message = JSON.parse(await text(request)) as Message;
      if (message.method === 'initialize') {
        const fresh = randomUUID();
        sessions.add(fresh);
        response.setHeader('mcp-session-id', fresh);
      } else if (!sessions.has(String(session))) {
        response.writeHead(404).end();
        return;
      }
      if (message.id === undefined) {
        response.writeHead(202).end();
        return;
      }
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      await answer(message, (one) => response.write(`event: message\ndata: ${JSON.stringify(one)}\n\n`));
      response.end();
    } else if (request.method === 'DELETE') {
      response.writeHead(sessions.delete(String(session)) ? 200 : 404).end();
    } else {
      response.writeHead(405).end();
    }
  };
  const server = createServer((request, response) => void handle(request, response).catch(() => response.destroy()));
  server.listen(port, () => process.send?.((server.address() as { port: number }).port));
  process.once('SIGTERM', () => process.exit(0)).once('disconnect', () => process.exit(0));
}

const [, , mode, port = '0'] = process.argv;
const { CHAOS_SERVER, CHAOS_LOG } = process.env;
if (CHAOS_SERVER !== undefined && CHAOS_LOG !== undefined) {
  const answer = createAnswering(CHAOS_SERVER, CHAOS_LOG);
  if (mode === 'stdio') serveStdio(answer);
  if (mode === 'http') serveHttp(answer, Number(port));
}
