import { GatewayError } from '../errors.js';
import type { Clock } from '../options.js';
import type { Caller, RuntimeContext, RuntimeFactory, RuntimeProgress, RuntimeTransport } from '../runtime.js';
import { isTransport } from '../sdk.js';
import { abortable } from '../util/abort.js';
import { causesOf } from '../util/causes.js';
import { copyError } from '../util/copy-error.js';
import { secretsOf } from '../util/credentials.js';
import { textOf } from '../util/text-of.js';
import type { Redactor } from './redact.js';
import { StrictTransport } from './strict-transport.js';

/** How much of the end of stderr is kept. */
const stderrTailBytes = 64 * 1024;

/** What an instance needs to know of its catalog entry. */
export interface InstanceDefinition {
  readonly id: string;
  readonly env: Readonly<Record<string, string>>;
  readonly runtime: { readonly type: string; readonly spec: unknown };
  readonly baseDir: string;
  readonly startTimeoutMs: number;
  readonly pullTimeoutMs: number;
  readonly maxMessageBytes: number;
}

/** What is started this time, and what knows its secrets. */
export interface Prepared {
  readonly definition: InstanceDefinition;
  readonly redactor: Redactor;
}

export interface OpenOptions {
  readonly definition: InstanceDefinition;
  readonly factory: RuntimeFactory;
  readonly gatewayId: string;
  readonly instanceId: string;
  readonly caller: Caller | undefined;
  readonly clock: Clock;
  readonly redactor: Redactor;
  readonly signal: AbortSignal;
  /** Says what to start, when that is known only now; counts as part of the start. */
  readonly prepare: ((signal: AbortSignal) => Promise<Prepared>) | undefined;
  onPhase(phase: 'pulling' | 'starting', progress: RuntimeProgress | undefined): void;
  /** From now on this one knows the secrets. */
  onRedactor(redactor: Redactor): void;
  /** The start was given up; `cleared` resolves when the runtime has taken away what it had started. Never rejects. */
  onAbandoned(cleared: Promise<void>): void;
}

/** The context that a runtime gets, apart from what only `open` needs. */
export function createContext(
  options: Pick<OpenOptions, 'definition' | 'gatewayId' | 'instanceId' | 'caller' | 'clock' | 'signal'>,
  conceal: (secrets: ReadonlyMap<string, string>) => void,
): RuntimeContext {
  const { definition, gatewayId, instanceId, caller, clock, signal } = options;
  return {
    server: definition.id,
    env: definition.env,
    baseDir: definition.baseDir,
    instanceId,
    gatewayId,
    caller,
    signal,
    report() {},
    conceal: (env) => conceal(secretsOf(env)),
    limits: { maxMessageBytes: definition.maxMessageBytes, stderrTailBytes },
    clock,
  };
}

/**
 * Opens a transport within its time limits: the start has one, and a pull, which does not count for it, has its own. A
 * runtime that ignores its signal holds nobody up, and what it returns too late is closed.
 */
export async function openTransport(options: OpenOptions): Promise<StrictTransport> {
  const { definition, factory, clock, prepare, signal } = options;
  let { redactor } = options;
  const server = definition.id;
  const timeout = new AbortController();
  const either = AbortSignal.any([signal, timeout.signal]);
  let timer: unknown;
  let isOver = false;
  let phase: 'pulling' | 'starting' | undefined;
  /** What the runtime has told last: it may say what the start waits for. */
  let news: string | undefined;
  const enter = (next: 'pulling' | 'starting') => {
    if (phase === next) {
      return;
    }
    phase = next;
    clock.clearTimeout(timer);
    const ms = next === 'pulling' ? definition.pullTimeoutMs : definition.startTimeoutMs;
    const what =
      next === 'pulling' ? 'pulling took longer than pull_timeout' : 'the start took longer than start_timeout';
    timer = clock.setTimeout(() => {
      const last = news === undefined ? '' : `; the last news: ${redactor.text(news)}`;
      timeout.abort(new GatewayError('START_TIMEOUT', `${what} (${ms} ms)${last}`, { server, delivered: false }));
    }, ms);
  };
  enter('starting');
  const know = (more: Redactor) => {
    redactor = more;
    options.onRedactor(more);
  };
  const conceal = (secrets: ReadonlyMap<string, string>) => {
    if (!isOver && secrets.size > 0) know(redactor.with(secrets));
  };
  const context: RuntimeContext = {
    ...createContext({ ...options, signal: either }, conceal),
    report(next, progress) {
      if (!either.aborted && !isOver) {
        enter(next);
        news = progress?.message;
        options.onPhase(next, progress);
      }
    },
  };
  const openPrepared = async (preparing: Promise<Prepared>) => {
    const prepared = await preparing;
    know(prepared.redactor);
    return openSafely(factory, prepared.definition.runtime.spec, { ...context, env: prepared.definition.env });
  };
  const opening =
    prepare === undefined ? openSafely(factory, definition.runtime.spec, context) : openPrepared(prepare(either));
  try {
    return new StrictTransport(await abortable(opening, either), server, redactor);
  } catch (error) {
    // A failure that came before the abort is one all the same.
    if (either.aborted && error === either.reason) {
      options.onAbandoned(opening.then((late) => late.close()).catch(() => {}));
      throw withStack(either.reason);
    }
    const detail = textOf(error);
    const failure = GatewayError.is(error)
      ? // Nothing could be handed to a server that did not start.
        copyError(error, { delivered: false })
      : new GatewayError('START_FAILED', detail, { server, cause: error, delivered: false });
    throw withStack(redactor.error(failure));
  } finally {
    isOver = true;
    clock.clearTimeout(timer);
  }
}

/** Writes the stack now: until somebody reads it, V8 keeps with the error all that stands on it, which is the whole entry. */
function withStack(error: unknown): unknown {
  for (const { stack } of causesOf(error)) {
    void stack;
  }
  return error;
}

// A factory of somebody else may throw before it returns a promise, or return something else.
async function openSafely(factory: RuntimeFactory, spec: unknown, context: RuntimeContext): Promise<RuntimeTransport> {
  context.signal.throwIfAborted();
  const transport = await factory.open(spec, context);
  if (!isTransport(transport)) {
    const message = `open() of the runtime "${factory.type}" returned no transport`;
    throw new GatewayError('START_FAILED', message, { server: context.server });
  }
  return transport;
}
