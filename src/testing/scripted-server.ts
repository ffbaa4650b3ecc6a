import type { RuntimeContext } from '../runtime.js';
import type { JSONRPCRequest, Transport } from '../sdk.js';
import { within } from './guard.js';
import { ScriptedInstance } from './scripted-instance.js';

/** A JSON object. */
export type Json = Record<string, unknown>;

/** What a handler returns to answer later, with `instance.answer(request, result)`, or never. */
export const hold: unique symbol = Symbol('hold');

/** What a handler throws to have a request answered with exactly this error. */
export class ScriptedError extends Error {
  /** The `error` of the answer. */
  readonly error: { readonly code: number; readonly message: string; readonly data?: unknown };

  constructor(code: number, message: string, data?: unknown) {
    super(message);
    this.name = 'ScriptedError';
    this.error = { code, message, ...(data !== undefined && { data }) };
  }
}

/** Answers a request: with a result, with {@link hold}, or with a thrown {@link ScriptedError}. */
export type ScriptedHandler = (
  request: JSONRPCRequest,
  instance: ScriptedInstance,
) => Json | typeof hold | Promise<Json | typeof hold>;

/** A tool of a scripted server: what lists show of it, as it is, and what it does. SDK clients want an `inputSchema` in a list. */
export interface ScriptedTool {
  /** Under which it is listed and called. */
  readonly name: string;
  /** Shown in the list as it is. */
  readonly [field: string]: unknown;
  /**
   * What a call returns: a text, a whole result, or {@link hold}.
   *
   * @default a result whose `structuredContent` holds the server's id and the params as they came
   */
  readonly call?: (
    args: Json,
    instance: ScriptedInstance,
    request: JSONRPCRequest,
  ) => string | Json | typeof hold | Promise<string | Json | typeof hold>;
}

/** What a scripted server has, and how it behaves. Everything is optional, and may be changed while it runs. */
export interface ServerScript {
  /**
   * What `initialize` declares.
   *
   * @default what follows from the lists, with list changes and subscriptions; besides logging and completions
   */
  capabilities?: Json | undefined;
  /** What `initialize` says of how to use it. */
  instructions?: string | undefined;
  /** What lists show; undefined for a server that has no tools. */
  tools?: readonly ScriptedTool[] | undefined;
  /** Prompts as lists show them. */
  prompts?: readonly Json[] | undefined;
  /** Resources as lists show them. */
  resources?: readonly Json[] | undefined;
  /** Resource templates as lists show them. */
  resourceTemplates?: readonly Json[] | undefined;
  /** More methods, or other answers to those that are there. */
  on?: Record<string, ScriptedHandler> | undefined;
  /** Waited for before an instance opens; what it throws is why the start fails. `opens` counts from 1. */
  open?: ((context: RuntimeContext, opens: number) => Promise<void> | void) | undefined;
}

function capabilitiesOf({ capabilities, tools, prompts, resources, resourceTemplates }: ServerScript): Json {
  return (
    capabilities ?? {
      ...(tools && { tools: { listChanged: true } }),
      ...(prompts && { prompts: { listChanged: true } }),
      ...((resources ?? resourceTemplates) && { resources: { listChanged: true, subscribe: true } }),
      logging: {},
      completions: {},
    }
  );
}

/**
 * A server whose every step the test decides. `runtime` goes into a catalog entry; each start makes a
 * {@link ScriptedInstance}, through which the test sees what came, and speaks.
 */
export class ScriptedServer {
  /** Every instance that was opened, the closed ones too. */
  readonly instances: ScriptedInstance[] = [];
  /** What went wrong in handlers that threw something else than a {@link ScriptedError}. */
  readonly problems: unknown[] = [];
  /** What it has, and how it behaves; may be changed while it runs. */
  readonly script: ServerScript;
  /** How often a start was tried. */
  opens = 0;
  /** @internal How long `request` waits, in milliseconds; for ever unless a test gateway says so. */
  guardMs: number | undefined;
  #waiting: (() => void)[] = [];

  constructor(script: ServerScript = {}) {
    this.script = script;
  }

  /** The `runtime` of a catalog entry. */
  readonly runtime: { readonly type: 'in-process'; readonly server: (context: RuntimeContext) => Promise<Transport> } =
    {
      type: 'in-process',
      server: async (context) => {
        this.opens += 1;
        await this.script.open?.(context, this.opens);
        const instance = new ScriptedInstance(this, context);
        this.instances.push(instance);
        return instance;
      },
    };

  /** What `initialize` declares. */
  get capabilities(): Json {
    return capabilitiesOf(this.script);
  }

  /** The instances that are open. */
  get live(): ScriptedInstance[] {
    return this.instances.filter((instance) => !instance.closed);
  }

  /** The only open instance. Throws when there is none, or more than one. */
  get only(): ScriptedInstance {
    const [instance, ...more] = this.live;
    if (instance === undefined || more.length > 0) {
      throw new Error(`${this.live.length} instances are open, not one`);
    }
    return instance;
  }

  /**
   * The nth request of a method, counted from 0 over all instances; waits for it to come.
   *
   * @throws AssertionError after the `guardMs` of the test gateway that has this server
   */
  request(method: string, index = 0): Promise<{ instance: ScriptedInstance; request: JSONRPCRequest }> {
    const found = this.#find(method, index);
    return this.guardMs === undefined ? found : within(found, this.guardMs, `a request of ${method}`);
  }

  async #find(method: string, index: number): Promise<{ instance: ScriptedInstance; request: JSONRPCRequest }> {
    for (;;) {
      const all = this.instances.flatMap((instance) =>
        instance.requests(method).map((request) => ({ instance, request })),
      );
      const found = all[index];
      if (found !== undefined) {
        return found;
      }
      await this.change();
    }
  }

  /** Resolves when the next message has come to any instance, or one has closed. */
  change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** @internal */
  changed(): void {
    for (const resolve of this.#waiting.splice(0)) {
      resolve();
    }
  }
}
