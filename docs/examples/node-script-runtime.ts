// #region runtime
import { access } from 'node:fs/promises';
import { resolve } from 'node:path';
import { GatewayError, LocalProcessRuntime, type RuntimeContext, type RuntimeFactory } from 'open-mcp-gateway';
import * as z from 'zod';

const nodeScriptSpec = z.strictObject({ script: z.string(), args: z.array(z.string()).optional() });
type NodeScriptSpec = z.infer<typeof nodeScriptSpec>;

/** Runs scripts with the Node of the host, whatever `node` is on the PATH. */
export class NodeScriptRuntime implements RuntimeFactory<NodeScriptSpec> {
  readonly type = 'node-script';
  readonly spec = nodeScriptSpec;
  readonly #processes = new LocalProcessRuntime();

  async check({ script }: NodeScriptSpec, { baseDir, signal }: RuntimeContext) {
    signal.throwIfAborted();
    const file = resolve(baseDir, script);
    const problems = await access(file).then(
      () => [],
      () => [`there is no script ${file}`],
    );
    return { ok: problems.length === 0, problems };
  }

  async open(spec: NodeScriptSpec, context: RuntimeContext) {
    const { problems } = await this.check(spec, context);
    if (problems[0] !== undefined) throw new GatewayError('START_FAILED', problems[0], { server: context.server });
    const args = [resolve(context.baseDir, spec.script), ...(spec.args ?? [])];
    return this.#processes.open({ command: process.execPath, args }, context);
  }

  close() {
    return this.#processes.close();
  }
}
// #endregion runtime
