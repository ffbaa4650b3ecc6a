/**
 * The server that the contract suite talks to. As a program it speaks JSON-RPC in lines on its standard streams; in
 * process it is an object with `connect` and `close`.
 *
 * It must run wherever a runtime can start `node`, straight from this source too: so it imports nothing but Node's own
 * modules, and its types can be stripped.
 */
import { realpathSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';

/** What a reference server does at its start, besides answering requests. */
export type ReferenceMode =
  /** Answers requests. */
  | 'answer'
  /** Sends 100 numbered notifications before it reads anything. */
  | 'early'
  /** Sends 3 numbered notifications and ends with code 7. */
  | 'early-exit'
  /** Writes to stderr and ends with code 7. */
  | 'exit'
  /** Writes lines that are no JSON-RPC, then answers requests. */
  | 'noisy';

/** Arguments of all tools: the suite sends what a tool needs, so nothing is checked. */
interface ToolArguments {
  readonly text: string;
  readonly name: string;
  readonly bytes: number;
  readonly count: number;
  readonly steps: number;
  readonly times?: number;
  readonly ms?: number;
  readonly code?: number;
  readonly signal?: string;
  readonly partial?: boolean;
  readonly stderr?: string;
}

interface Params {
  readonly name?: string;
  readonly arguments?: ToolArguments;
  readonly number?: number;
  readonly progress?: number;
  readonly total?: number;
  readonly progressToken?: number | string;
  readonly protocolVersion?: string;
  readonly _meta?: { readonly progressToken?: number | string };
}

interface Message {
  readonly jsonrpc: '2.0';
  readonly id?: number | string;
  readonly method?: string;
  readonly params?: Params;
  readonly result?: unknown;
  readonly error?: unknown;
}

/** What a reference server needs of its surroundings: a process has all of it, an object only some. */
interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  send(message: Message): void;
  /** Calls `done` when everything sent so far has left. */
  flush(done: () => void): void;
  /** Writes to standard output what is no message. */
  noise(text: string): void;
  /** Writes a message in pieces of one byte. */
  sendInPieces(message: Message): void;
  stderr(text: string): void;
  stopReading(): void;
  end(how: { readonly code?: number; readonly signal?: string; readonly partial?: boolean }): void;
}

type Tool = (args: ToolArguments, server: Conversation, message: Message) => unknown;

/** Returns the result's text, or undefined when the tool answers by itself or never. */
const tools: Record<string, Tool> = {
  echo: ({ text }) => text,
  env: ({ name }, { around }) => JSON.stringify(around.env[name] ?? null),
  never: () => undefined,
  big: ({ bytes }) => 'x'.repeat(bytes),
  seen: (_args, { seen }) => JSON.stringify(seen),
  notify: ({ count }, server) => {
    for (let number = 0; number < count; number++) server.notify(number);
    return 'notified';
  },
  progress: ({ steps }, { around }, { params }) => {
    for (let progress = 1; progress <= steps; progress++) {
      const report = { ...params?._meta, progress, total: steps };
      around.send({ jsonrpc: '2.0', method: 'notifications/progress', params: report });
    }
    return 'done';
  },
  stderr: ({ text, times = 1 }, { around }) => {
    around.stderr(text.repeat(times));
    return 'written';
  },
  noise: (_args, { around }) => {
    around.noise('not JSON\n{"json": "but no message"}\n[]\n\n{"jsonrpc":"2.0"\n');
    return 'after the noise';
  },
  split: ({ text }, { around }, { id }) => {
    around.sendInPieces({ jsonrpc: '2.0', ...(id === undefined ? {} : { id }), result: content(text) });
  },
  ask: (_args, server, message) => {
    const id = `ask-${String(message.id)}`;
    server.asked.set(id, (answer) => server.answer(message, content(JSON.stringify(answer))));
    server.around.send({ jsonrpc: '2.0', id, method: 'roots/list' });
  },
  deaf: ({ ms }, server, message) => {
    server.answer(message, content('deaf'));
    server.around.stopReading();
    if (ms !== undefined) setTimeout(() => server.around.end({ code: 7 }), ms);
  },
  crash: ({ stderr, ...how }, { around }) => {
    if (stderr !== undefined) around.stderr(stderr);
    around.end(how);
  },
  'answer-and-end': ({ bytes }, server, message) => {
    server.answer(message, content('x'.repeat(bytes)));
    server.around.flush(() => server.around.end({ code: 7 }));
  },
};

const noArguments: ToolArguments = { text: '', name: '', bytes: 0, count: 0, steps: 0 };

function content(text: string): object {
  return { content: [{ type: 'text', text }] };
}

/** One connection's worth of answers. */
class Conversation {
  readonly around: Surroundings;
  /** Numbers of the `notifications/reference` that came, in their order. */
  readonly seen: number[] = [];
  readonly asked = new Map<string, (answer: unknown) => void>();
  readonly #mode: string;
  readonly #beacon: Socket | undefined;

  constructor(args: readonly string[], around: Surroundings) {
    this.around = around;
    this.#mode = args[0] ?? 'answer';
    const [, port, name] = args.map((arg) => /^--beacon=(\d+):(.*)$/.exec(arg)).find(Boolean) ?? [];
    this.#beacon = port === undefined ? undefined : connectBeacon(Number(port), name);
  }

  begin(): void {
    const { around } = this;
    const early = this.#mode === 'early' ? 100 : this.#mode === 'early-exit' ? 3 : 0;
    for (let number = 0; number < early; number++) this.notify(number);
    if (this.#mode === 'noisy') around.noise('Reference server, ready to answer\n\n{}\n');
    if (this.#mode === 'exit') around.stderr('reference server ends at once\n');
    const ends = this.#mode === 'exit' || this.#mode === 'early-exit';
    around.flush(() => this.#signal('sent\n', () => ends && around.end({ code: 7 })));
  }

  /** Calls `done` also when there is nobody to see it. */
  #signal(text: string, done: () => void): void {
    if (this.#beacon === undefined) done();
    else this.#beacon.write(text, () => done());
  }

  stop(): void {
    this.#beacon?.destroy();
  }

  notify(number: number): void {
    this.around.send({ jsonrpc: '2.0', method: 'notifications/reference', params: { number } });
  }

  answer(request: Message, result: unknown): void {
    if (request.id !== undefined) this.around.send({ jsonrpc: '2.0', id: request.id, result });
  }

  receive(message: Message): void {
    const { id, method, params } = message;
    if (method === undefined) {
      this.asked.get(String(id))?.(message.result);
    } else if (id === undefined) {
      if (method === 'notifications/reference') this.seen.push(params?.number ?? -1);
    } else if (method === 'initialize') {
      this.answer(message, {
        protocolVersion: params?.protocolVersion ?? '2025-11-25',
        capabilities: { tools: {} },
        serverInfo: { name: 'reference-server', version: '1.0.0' },
      });
    } else if (method === 'ping') {
      this.answer(message, {});
    } else if (method === 'reference/mirror') {
      this.answer(message, { params });
    } else if (method === 'tools/list') {
      this.answer(message, { tools: Object.keys(tools).map((name) => ({ name, inputSchema: { type: 'object' } })) });
    } else if (method === 'tools/call' && Object.hasOwn(tools, params?.name ?? '')) {
      const text = tools[params?.name ?? '']?.(params?.arguments ?? noArguments, this, message);
      if (typeof text === 'string') this.answer(message, content(text));
    } else {
      const code = method === 'tools/call' ? -32602 : -32601;
      this.around.send({ jsonrpc: '2.0', id, error: { code, message: `no such thing: ${method}` } });
    }
  }
}

/** Tells the suite that this server lives, and answers for as long as it does. */
function connectBeacon(port: number, name = ''): Socket {
  const socket = connect(port, '127.0.0.1');
  socket.unref();
  // Where the suite cannot be reached, there is just no beacon.
  socket.on('error', () => {});
  socket.on('data', () => socket.write('pong\n'));
  socket.write(`hello ${name}\n`);
  return socket;
}

/** The far end of a linked pair or any SDK transport, as far as it is used here. */
interface AnyTransport {
  onmessage?: ((message: never) => void) | undefined;
  onclose?: (() => void) | undefined;
  start(): Promise<void>;
  send(message: never): Promise<void>;
  close(): Promise<void>;
}

/** A reference server inside this process. */
export interface ReferenceServer {
  /** Begins to answer over the server's end of a transport. */
  connect(transport: AnyTransport): Promise<void>;
  /** Ends the conversation, and closes the transport. */
  close(): Promise<void>;
}

/**
 * Makes a reference server for runtimes that run objects of this process.
 *
 * @param args - as {@link RuntimeContractOptions.working} receives them
 * @param env - what the server sees as its environment
 */
export function createReferenceServer(
  args: readonly string[] = [],
  env: Readonly<Record<string, string | undefined>> = {},
): ReferenceServer {
  let transport: AnyTransport | undefined;
  let deaf = false;
  const nothing = () => {};
  const send = (message: Message) => void transport?.send(message as never).catch(nothing);
  const end = async () => {
    conversation.stop();
    await transport?.close();
  };
  const conversation: Conversation = new Conversation(args, {
    env,
    send,
    flush: (done) => done(),
    noise: nothing,
    sendInPieces: send,
    stderr: nothing,
    stopReading: () => {
      deaf = true;
    },
    end: () => void end(),
  });
  return {
    async connect(its) {
      transport = its;
      its.onmessage = (message) => deaf || conversation.receive(message);
      its.onclose = () => conversation.stop();
      await its.start();
      conversation.begin();
    },
    close: end,
  };
}

/** Runs as a program: JSON-RPC in lines on standard input and output, until the input ends. */
function main(args: readonly string[]): void {
  const { stdin, stdout, stderr } = process;
  const send = (message: Message) => stdout.write(`${JSON.stringify(message)}\n`);
  const conversation = new Conversation(args, {
    env: process.env,
    send,
    flush: (done) => stdout.write('', () => done()),
    noise: (text) => stdout.write(text),
    sendInPieces: (message) => {
      const bytes = Buffer.from(`${JSON.stringify(message)}\n`);
      const next = (at: number) => {
        if (at < bytes.length) stdout.write(bytes.subarray(at, at + 1), () => setImmediate(next, at + 1));
      };
      next(0);
    },
    stderr: (text) => stderr.write(text),
    stopReading: () => {
      stdin.pause();
      // A process that waits for nothing would end.
      setInterval(() => {}, 60_000);
    },
    end: ({ code = 7, signal, partial = false }) => {
      if (partial) stdout.write('{"jsonrpc":"2.0","method":"notifications/refer');
      stdout.write('', () => {
        stderr.write('', () => {
          if (signal === undefined) process.exit(code);
          // A signal goes to a whole process: out of a worker thread it would end the tests.
          if (!isMainThread) process.exit(128 + constants.signals[signal as NodeJS.Signals]);
          process.kill(process.pid, signal);
        });
      });
    },
  });
  // The host is gone: nobody reads answers any more.
  stdout.on('error', () => process.exit(0));
  let rest: Buffer[] = [];
  stdin.on('data', (chunk: Buffer) => {
    let from = 0;
    for (let to = chunk.indexOf(10); to !== -1; to = chunk.indexOf(10, from)) {
      const line = Buffer.concat([...rest, chunk.subarray(from, to)]).toString();
      rest = [];
      from = to + 1;
      if (line.trim() !== '') conversation.receive(JSON.parse(line));
    }
    if (from < chunk.length) rest.push(chunk.subarray(from));
  });
  stdin.on('end', () => process.exit(0));
  conversation.begin();
}

/** True when `node` was asked to run this very file. */
function isProgram(): boolean {
  const program = process.argv[1];
  if (program === undefined || !import.meta.url?.startsWith('file:')) return false;
  try {
    return realpathSync(program) === fileURLToPath(import.meta.url);
  } catch {
    return false;
  }
}

/** Defined by the build of the kit for tests: the program whose file that gets into is another one. */
declare const isPartOfKit: true | undefined;

if (typeof isPartOfKit === 'undefined' && isProgram()) main(process.argv.slice(2));
