import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import type { Transport as SdkTransport } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { GatewayError } from '../../../src/errors.js';
import type { Gateway } from '../../../src/index.js';

/** A client's session with the server of the tests, through a gateway. */
export class ServiceCaller implements AsyncDisposable {
  readonly client = new Client({ name: 'test', version: '1' });
  readonly errors: Error[] = [];
  closes = 0;
  /** Settles when the transport has closed, by whosever wish. */
  readonly closed: Promise<void>;

  private constructor() {
    this.client.onerror = (error) => void this.errors.push(error);
    this.closed = new Promise((resolve) => {
      this.client.onclose = () => {
        this.closes += 1;
        resolve();
      };
    });
  }

  static async connect(gateway: Gateway, id: string): Promise<ServiceCaller> {
    const caller = new ServiceCaller();
    await caller.client.connect(gateway.connect(id) as SdkTransport);
    return caller;
  }

  /** The text that a tool answers with. */
  async call(name: string, args: Record<string, unknown> = {}): Promise<string> {
    const result = await this.client.callTool({ name, arguments: args });
    const [first] = result.content as { readonly text?: string }[];
    return first?.text ?? '';
  }

  /**
   * A call that is answered after a while.
   * Resolves when it has arrived in the pod; `outcome` is its answer, or what it failed with.
   */
  async wait(ms: number): Promise<{ readonly outcome: Promise<unknown> }> {
    const arrived = Promise.withResolvers<void>();
    const outcome = this.client
      .callTool({ name: 'wait', arguments: { ms } }, undefined, { onprogress: () => arrived.resolve() })
      .then(
        ({ content }) => (content as { readonly text?: string }[])[0]?.text,
        (error: unknown) => {
          arrived.reject(error);
          return error;
        },
      );
    await arrived.promise;
    return { outcome };
  }

  /** The name of the pod where the session is. */
  pod(): Promise<string> {
    return this.call('whoami');
  }

  /** Why the session ended by itself. */
  get loss(): GatewayError | undefined {
    return this.errors.find((error) => (error as GatewayError).code === 'SESSION_LOST') as GatewayError | undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close();
  }
}
