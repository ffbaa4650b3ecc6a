import { Client as ClientV2 } from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import {
  CallToolResultSchema,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { isRequest, isResponse, type JSONRPCMessage, type Transport } from '../../src/sdk.js';
import { Watched } from '../support/watched.js';
import type { Json } from './scripted-server.js';

export const sdks = ['v1', 'v2'] as const;
export type Sdk = (typeof sdks)[number];

/** What a peer answers to servers; a test replaces what it is about. */
export interface Answers {
  sampling(params: Json): Json | Promise<Json>;
  elicitation(params: Json): Json | Promise<Json>;
  roots(): readonly Json[];
}

export interface CallOptions {
  onprogress?(progress: { progress: number; total?: number | undefined }): void;
  signal?: AbortSignal;
}

const info = { name: 'test', version: '1' };
const capabilities = {
  sampling: {},
  elicitation: { form: {}, url: {} },
  roots: { listChanged: true },
};

/** Sees what passes between a client and its transport, since the SDK does not show all of it. */
class Tap implements Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: NonNullable<Transport['onmessage']>;
  readonly progress = new Map<unknown, Json[]>();
  readonly strays: string[] = [];
  readonly #open = new Set<unknown>();
  readonly #inner: Transport;

  constructor(inner: Transport) {
    this.#inner = inner;
    inner.onclose = () => this.onclose?.();
    inner.onerror = (error) => this.onerror?.(error);
    inner.onmessage = (message, extra) => {
      this.#see(message);
      this.onmessage?.(message, extra);
    };
  }

  start(): Promise<void> {
    return this.#inner.start();
  }

  send(message: JSONRPCMessage): Promise<void> {
    if (isRequest(message)) {
      this.#open.add(message.id);
    } else if ('method' in message && message.method === 'notifications/cancelled') {
      this.#open.delete(message.params?.requestId);
    }
    return this.#inner.send(message);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  #see(message: JSONRPCMessage): void {
    const text = JSON.stringify(message);
    if (isResponse(message)) {
      this.#open.delete(message.id) || this.strays.push(text);
    } else if (message.method === 'notifications/progress') {
      // Both SDKs use the id of a request as its token.
      const { progressToken, ...rest } = (message.params ?? {}) as Json;
      this.#open.has(progressToken) || this.strays.push(text);
      // Below 0 it is of a start, by the gateway.
      if (Number(rest.progress) > 0) {
        this.progress.set(progressToken, [...(this.progress.get(progressToken) ?? []), rest]);
      }
    }
  }
}

/** The Client of one of the SDK's versions, which keeps what it hears, and what it thinks should not have come. */
export class SdkPeer extends Watched implements AsyncDisposable {
  readonly client: ClientV1 | ClientV2;
  readonly answers: Answers = {
    sampling: () => ({ role: 'assistant', model: 'none', content: { type: 'text', text: 'sampled' } }),
    elicitation: () => ({ action: 'decline' }),
    roots: () => [],
  };
  /** All notifications but those of progress, which the SDK leads to their calls. */
  readonly notifications: { method: string; params?: Json }[] = [];
  readonly #errors: Error[] = [];
  #tap: Tap | undefined;
  readonly #call: (name: string, args: Json, options: CallOptions) => Promise<unknown>;

  constructor(sdk: Sdk, mode: 'auto' | 'legacy' = 'legacy') {
    super();
    const { answers } = this;
    if (sdk === 'v1') {
      const client = new ClientV1(info, { capabilities });
      client.setRequestHandler(CreateMessageRequestSchema, async ({ params }) => toAnswer(answers.sampling(params)));
      client.setRequestHandler(ElicitRequestSchema, async ({ params }) => toAnswer(answers.elicitation({ ...params })));
      client.setRequestHandler(ListRootsRequestSchema, async () => toAnswer({ roots: answers.roots() }));
      this.#call = (name, args, options) => client.callTool({ name, arguments: args }, CallToolResultSchema, options);
      this.client = client;
    } else {
      const client = new ClientV2(info, { capabilities, versionNegotiation: { mode } });
      client.setRequestHandler('sampling/createMessage', async ({ params }) =>
        toAnswer(answers.sampling({ ...params })),
      );
      client.setRequestHandler('elicitation/create', async ({ params }) =>
        toAnswer(answers.elicitation({ ...params })),
      );
      client.setRequestHandler('roots/list', async () => toAnswer({ roots: answers.roots() }));
      this.#call = (name, args, options) => client.callTool({ name, arguments: args }, options);
      this.client = client;
    }
    this.client.onerror = (error: Error) => this.#errors.push(error);
    this.client.fallbackNotificationHandler = async (notification) => {
      this.notifications.push(notification as { method: string; params?: Json });
      this.changed();
    };
  }

  static async open(sdk: Sdk, transport: Transport): Promise<SdkPeer> {
    const peer = new SdkPeer(sdk);
    peer.#tap = new Tap(transport);
    await peer.client.connect(peer.#tap);
    return peer;
  }

  async call(name: string, args: Json = {}, options: CallOptions = {}): Promise<ToolResult> {
    return (await this.#call(name, args, options)) as ToolResult;
  }

  /** The first text of what a tool answers. */
  async text(name: string, args: Json = {}, options: CallOptions = {}): Promise<string> {
    const { content } = await this.call(name, args, options);
    return content.map(({ text }) => text ?? '').join('\n');
  }

  /** The params of all notifications of a method. */
  heard(method: string): Json[] {
    return this.notifications.flatMap((each) => (each.method === method ? [each.params ?? {}] : []));
  }

  /** What came and belongs to nothing that waits, and whatever else the SDK complains of. */
  strays(): string[] {
    return [...this.#errors.map(({ message }) => message), ...(this.#tap?.strays ?? [])];
  }

  /** All progress that servers have told of, by the id of its request. */
  get progress(): ReadonlyMap<unknown, readonly Json[]> {
    return this.#tap?.progress ?? new Map();
  }

  close(): Promise<void> {
    return this.client.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

export interface ToolResult {
  readonly content: readonly { readonly type: string; readonly text?: string; readonly uri?: string }[];
  readonly structuredContent?: Json;
  readonly isError?: boolean;
}

/** Either SDK checks what is answered here when it sends it. */
async function toAnswer(answer: Json | Promise<Json>): Promise<never> {
  return (await answer) as never;
}
