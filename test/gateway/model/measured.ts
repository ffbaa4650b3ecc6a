import type { RuntimeContext, RuntimeFactory, RuntimeTransport } from '../../../src/index.js';
import { InProcessRuntime } from '../../../src/runtimes/in-process.js';
import type { ScriptedInstance } from '../../endpoint/scripted-server.js';

export interface MeasuredSpec {
  readonly server: (context: RuntimeContext) => Promise<ScriptedInstance>;
  readonly mebibytes: number;
}

/** Servers in this process of which the runtime says how much memory they may use, and whether they live. */
export class MeasuredRuntime implements RuntimeFactory<MeasuredSpec> {
  readonly type = 'measured';
  readonly spec: RuntimeFactory<MeasuredSpec>['spec'] = {
    '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value: value as MeasuredSpec }) },
  };
  readonly supports = { env: true, stderr: false, exit: false } as const;
  readonly #inner = new InProcessRuntime();
  readonly #live: (instance: ScriptedInstance, signal: AbortSignal) => Promise<void>;

  /** @param live - rejects when an instance does not */
  constructor(live: (instance: ScriptedInstance, signal: AbortSignal) => Promise<void>) {
    this.#live = live;
  }

  memory({ mebibytes }: MeasuredSpec): number {
    return mebibytes * 2 ** 20;
  }

  async open(spec: MeasuredSpec, context: RuntimeContext): Promise<RuntimeTransport> {
    let made: ScriptedInstance | undefined;
    const server = async (given: RuntimeContext) => {
      made = await spec.server(given);
      return made;
    };
    const transport = await this.#inner.open({ server }, context);
    transport.health = (signal) => this.#live(made as ScriptedInstance, signal);
    return transport;
  }
}
