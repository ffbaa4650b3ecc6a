import type { RuntimeContext, RuntimeFactory, RuntimeTransport } from '../../src/runtime.js';
import { InProcessRuntime, type InProcessSpec } from '../../src/runtimes/in-process.js';
import type { JSONRPCMessage } from '../../src/sdk.js';
import { createReferenceServer, runtimeContract } from '../../src/testing/index.js';

/**
 * Runs the suite on a runtime and returns the names of its cases and of those that failed.
 *
 * @param atOnce - how many cases: the guard of one runs while others have the processor
 */
export async function runSuite(
  create: () => RuntimeFactory<InProcessSpec>,
  atOnce = 8,
): Promise<{ names: string[]; failures: Map<string, Error> }> {
  const bodies = new Map<string, () => Promise<void>>();
  runtimeContract((name, body) => bodies.set(name, body), {
    create,
    working: (args) => ({ server: (context) => createReferenceServer(args, context.env) }),
    broken: () => ({ server: () => Promise.reject(new Error('no such database')) }),
    // Each fault that makes a case hang costs this much; less would take a busy machine for a hang.
    guardMs: 8000,
  });
  const failures = new Map<string, Error>();
  const waiting = bodies.entries();
  const work = async () => {
    for (const [name, body] of waiting) await body().catch((error: Error) => failures.set(name, error));
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return { names: [...bodies.keys()], failures };
}

/** What a broken runtime does otherwise than the one it wraps. */
export interface Fault {
  factory?(inner: InProcessRuntime): Partial<RuntimeFactory<InProcessSpec>>;
  open?(spec: InProcessSpec, context: RuntimeContext, inner: InProcessRuntime): Promise<RuntimeTransport>;
  /** Changes the transport that is handed out; `inner` already calls its callbacks. */
  transport?(outer: RuntimeTransport, inner: RuntimeTransport): void;
}

/** The in-process runtime with one fault. */
export function faultyRuntime(fault: Fault): RuntimeFactory<InProcessSpec> {
  const inner = new InProcessRuntime();
  return {
    type: inner.type,
    spec: inner.spec,
    supports: inner.supports,
    ...fault.factory?.(inner),
    async open(spec, context) {
      const opened = await (fault.open?.(spec, context, inner) ?? inner.open(spec, context));
      const outer = delegate(opened);
      fault.transport?.(outer, opened);
      return outer;
    },
  };
}

function delegate(inner: RuntimeTransport): RuntimeTransport {
  const outer: RuntimeTransport = {
    start: () => inner.start(),
    send: (message, options) => inner.send(message, options),
    close: () => inner.close(),
    health: async (signal) => inner.health?.(signal),
  };
  inner.onmessage = (message, extra) => outer.onmessage?.(message, extra);
  inner.onerror = (error) => outer.onerror?.(error);
  inner.onclose = () => outer.onclose?.();
  return outer;
}

/** The name of the tool that a message calls. */
export function calledTool(message: JSONRPCMessage): unknown {
  return 'params' in message ? message.params?.name : undefined;
}
