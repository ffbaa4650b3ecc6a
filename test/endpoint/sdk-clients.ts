import { Client as ClientV2 } from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import {
  CallToolResultSchema,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import type { Transport } from '../../src/sdk.js';
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

/** The Client of one of the SDK's versions, which keeps what it hears, and what it thinks should not have come. */
export class SdkPeer implements AsyncDisposable {
  readonly client: ClientV1 | ClientV2;
  readonly answers: Answers = {
    sampling: () => ({ role: 'assistant', model: 'none', content: { type: 'text', text: 'sampled' } }),
    elicitation: () => ({ action: 'decline' }),
    roots: () => [],
  };
  /** All notifications but those of progress, which the SDK leads to their calls. */
  readonly notifications: { method: string; params?: Json }[] = [];
  readonly #errors: Error[] = [];
  readonly #call: (name: string, args: Json, options: CallOptions) => Promise<unknown>;
  #waiting: (() => void)[] = [];

  constructor(sdk: Sdk, mode: 'auto' | 'legacy' = 'auto') {
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
    await peer.client.connect(transport);
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

  /**
   * What an SDK complains of: answers and progress that belong to nothing. Both SDKs take an answer before the last progress
   * when the two come in one piece, as from a server itself, and then complain of that progress: it does not count.
   *
   * @param total - of the progress of this peer's calls, when it is known
   */
  strays(total?: number): string[] {
    return this.#errors
      .map(({ message }) => message)
      .filter((message) => {
        const params = /unknown token: (\{.*)$/s.exec(message)?.[1];
        const last = params === undefined ? undefined : (JSON.parse(params) as { params: Json }).params;
        return last === undefined || last.progress !== last.total || last.total !== (total ?? last.total);
      });
  }

  /** What `find` finds, as soon as it does. */
  async until<T>(find: () => T | undefined): Promise<T> {
    for (;;) {
      const found = find();
      if (found !== undefined) {
        return found;
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  changed(): void {
    for (const resolve of this.#waiting.splice(0)) {
      resolve();
    }
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
