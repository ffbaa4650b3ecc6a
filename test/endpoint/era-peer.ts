import { Client as ClientV2 } from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import {
  CallToolResultSchema,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import type { Transport } from '../../src/sdk.js';
import { Watched } from '../support/watched.js';
import type { Json } from './scripted-server.js';

/** Clients of both SDKs, in each era that they know. */
export const clientKinds = ['v1', 'v2 legacy', 'v2 modern'] as const;
export type ClientKind = (typeof clientKinds)[number];

export interface EraCallOptions {
  readonly signal?: AbortSignal;
  readonly onprogress?: (progress: { progress: number }) => void;
  readonly meta?: Json;
}

const info = { name: 'test', version: '1' };
const capabilities = { sampling: {}, elicitation: { form: {} }, roots: { listChanged: true } };

/** A client that answers what servers ask, and keeps what it hears. */
export class EraPeer extends Watched implements AsyncDisposable {
  readonly client: ClientV1 | ClientV2;
  readonly heard: { method: string; params?: Json }[] = [];
  /** What it was asked. */
  readonly asked: { method: string; params: Json }[] = [];
  elicit: (params: Json) => Json = ({ message }) => ({
    action: 'accept',
    content: /name/.test(String(message)) ? { name: 'Ada' } : { age: 36 },
  });

  private constructor(client: ClientV1 | ClientV2) {
    super();
    this.client = client;
    client.fallbackNotificationHandler = async (notification) => {
      this.heard.push(notification as { method: string; params?: Json });
      this.changed();
    };
  }

  static async open(kind: ClientKind, transport: Transport, declared: object = capabilities): Promise<EraPeer> {
    let peer: EraPeer;
    const answer = (method: string, params: Json): Json => {
      peer.asked.push({ method, params });
      switch (method) {
        case 'elicitation/create':
          return peer.elicit(params);
        case 'roots/list':
          return { roots: [{ uri: 'file:///home' }, { uri: 'file:///work' }] };
        default:
          return { role: 'assistant', model: 'none', content: { type: 'text', text: 'from the model' } };
      }
    };
    const may = (name: string) => name in declared;
    if (kind === 'v1') {
      const client = new ClientV1(info, { capabilities: declared });
      may('sampling') &&
        client.setRequestHandler(
          CreateMessageRequestSchema,
          async ({ method, params }) => answer(method, { ...params }) as never,
        );
      may('elicitation') &&
        client.setRequestHandler(
          ElicitRequestSchema,
          async ({ method, params }) => answer(method, { ...params }) as never,
        );
      may('roots') &&
        client.setRequestHandler(ListRootsRequestSchema, async ({ method }) => answer(method, {}) as never);
      peer = new EraPeer(client);
      await client.connect(transport);
      return peer;
    }
    const mode = kind === 'v2 legacy' ? 'legacy' : { pin: '2026-07-28' };
    const client = new ClientV2(info, { capabilities: declared, versionNegotiation: { mode } });
    may('sampling') &&
      client.setRequestHandler(
        'sampling/createMessage',
        async ({ method, params }) => answer(method, { ...params }) as never,
      );
    may('elicitation') &&
      client.setRequestHandler(
        'elicitation/create',
        async ({ method, params }) => answer(method, { ...params }) as never,
      );
    may('roots') && client.setRequestHandler('roots/list', async ({ method }) => answer(method, {}) as never);
    peer = new EraPeer(client);
    await client.connect(transport);
    return peer;
  }

  /** The steps that the client hears of while a tool works: those of its server, as the ones of a start are below 0. */
  async steps(name: string): Promise<number[]> {
    const steps: number[] = [];
    const onprogress = ({ progress }: { progress: number }) => void (progress > 0 && steps.push(progress));
    await this.text(name, {}, { onprogress });
    return steps;
  }

  /** The first text of what a tool answers. */
  async text(name: string, args: Json = {}, { meta, ...options }: EraCallOptions = {}): Promise<string> {
    const params = { name, arguments: args, ...(meta && { _meta: meta }) };
    const result =
      this.client instanceof ClientV1
        ? await this.client.callTool(params, CallToolResultSchema, options)
        : await this.client.callTool(params, options);
    return (result.content as { text?: string }[]).map(({ text }) => text ?? '').join('\n');
  }

  notification(method: string): Promise<{ method: string; params?: Json }> {
    return this.until(() => this.heard.find((each) => each.method === method));
  }

  close(): Promise<void> {
    return this.client.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
