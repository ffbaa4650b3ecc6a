import { parseDuration, parseSize } from '../util/quantity.js';
import type { ServerDefinition } from './catalog.js';
import type { Envelope } from './envelope.js';

type FromEnvelope = Omit<ServerDefinition, 'runtime' | 'baseDir' | 'secrets' | 'variablesAt' | 'withVariables'>;

/** Fills in the defaults and turns durations and sizes into numbers. */
export function toDefinition(entry: Envelope): FromEnvelope {
  return {
    id: entry.id,
    displayName: entry.display_name ?? entry.id,
    description: entry.description,
    tags: entry.tags ?? [],
    enabled: entry.enabled ?? true,
    env: entry.env ?? {},
    isolation: entry.isolation ?? 'caller',
    idleTimeoutMs: toMs(entry.idle_timeout, 5 * 60_000),
    startTimeoutMs: toMs(entry.start_timeout, 30_000),
    pullTimeoutMs: toMs(entry.pull_timeout, 10 * 60_000),
    requestTimeoutMs: toMs(entry.request_timeout, 10 * 60_000),
    maxLifetimeMs: toMs(entry.max_lifetime, 0),
    listTimeoutMs: toMs(entry.list_timeout, 10_000),
    maxMessageBytes: (entry.max_message === undefined ? undefined : parseSize(entry.max_message)) ?? 16 * 1024 ** 2,
    onReload: entry.on_reload ?? 'drain',
    restart: entry.restart === undefined ? defaultRestart : toRestart(entry.restart),
    health: entry.health === undefined ? defaultHealth : toHealth(entry.health),
    protocol: entry.protocol ?? 'auto',
    tools: entry.tools === undefined ? allTools : { allow: entry.tools.allow, deny: entry.tools.deny ?? [] },
  };
}

function toRestart(restart: NonNullable<Envelope['restart']>): ServerDefinition['restart'] {
  const backoffMs = toMs(restart.backoff, 1000);
  return {
    max: restart.max ?? 5,
    windowMs: toMs(restart.window, 60_000),
    backoffMs,
    // Who only asks for a longer wait gets it.
    maxBackoffMs: toMs(restart.max_backoff, Math.max(30_000, backoffMs)),
    cooldownMs: toMs(restart.cooldown, 5 * 60_000),
  };
}

function toHealth(health: NonNullable<Envelope['health']>): ServerDefinition['health'] {
  return {
    intervalMs: toMs(health.interval, 30_000),
    timeoutMs: toMs(health.timeout, 5000),
    failures: health.failures ?? 3,
  };
}

// Most entries write none of these: they share them.
const defaultRestart = Object.freeze(toRestart({}));
const defaultHealth = Object.freeze(toHealth({}));
const allTools = Object.freeze({ allow: undefined, deny: Object.freeze<string[]>([]) });

function toMs(written: string | 0 | undefined, byDefault: number): number {
  return (written === undefined ? undefined : parseDuration(String(written))) ?? byDefault;
}
