import { parseDuration, parseSize } from '../util/quantity.js';
import type { ServerDefinition } from './catalog.js';
import type { Envelope } from './envelope.js';

type FromEnvelope = Omit<ServerDefinition, 'runtime' | 'baseDir' | 'secrets'>;

/** Fills in the defaults and turns durations and sizes into numbers. */
export function toDefinition(entry: Envelope): FromEnvelope {
  const backoffMs = toMs(entry.restart?.backoff, 1000);
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
    restart: {
      max: entry.restart?.max ?? 5,
      windowMs: toMs(entry.restart?.window, 60_000),
      backoffMs,
      // Who only asks for a longer wait gets it.
      maxBackoffMs: toMs(entry.restart?.max_backoff, Math.max(30_000, backoffMs)),
      cooldownMs: toMs(entry.restart?.cooldown, 5 * 60_000),
    },
    health: {
      intervalMs: toMs(entry.health?.interval, 30_000),
      timeoutMs: toMs(entry.health?.timeout, 5000),
      failures: entry.health?.failures ?? 3,
    },
    protocol: entry.protocol ?? 'auto',
    tools: { allow: entry.tools?.allow, deny: entry.tools?.deny ?? [] },
  };
}

function toMs(written: string | 0 | undefined, byDefault: number): number {
  return (written === undefined ? undefined : parseDuration(String(written))) ?? byDefault;
}
