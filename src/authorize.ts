import type { ServerDefinition } from './catalog/catalog.js';
import { fingerprint } from './catalog/fingerprint.js';
import { BoundedMap } from './endpoint/bounded-map.js';
import { GatewayError } from './errors.js';
import type { GatewayOptions, ServerDescription } from './gateway-api.js';
import type { Redactor } from './instance/redact.js';
import type { RuntimeFactory } from './runtime.js';
import { textOf } from './util/text-of.js';

/** What is needed to say what an entry would start. */
export interface Describable {
  readonly definition: ServerDefinition;
  readonly factory: RuntimeFactory;
  readonly redactor: Redactor;
}

/** Asks the host's policy before the first start of each thing that would be started. */
export class Authorizer {
  readonly #authorize: GatewayOptions['authorize'];
  readonly #permits: BoundedMap<string, Promise<void>>;

  /** Beyond `max` permits, the one that was needed longest ago is asked for again: reloads bring ever others. */
  constructor(authorize: GatewayOptions['authorize'], max = 10_000) {
    this.#authorize = authorize;
    this.#permits = new BoundedMap(max);
  }

  /** Rejects with `NOT_AUTHORIZED` when the host refuses; a refusal is asked again next time. */
  permit(entry: Describable): Promise<void> {
    const authorize = this.#authorize;
    if (authorize === undefined) {
      return Promise.resolve();
    }
    let description: ServerDescription;
    try {
      description = describe(entry);
    } catch (error) {
      const { id, runtime } = entry.definition;
      const text = `the runtime "${runtime.type}" cannot say what it would start: ${textOf(error)}`;
      const options = { server: id, delivered: false };
      return Promise.reject(new GatewayError('NOT_AUTHORIZED', entry.redactor.text(text), options));
    }
    const key = `${description.id} ${description.fingerprint}`;
    let permit = this.#permits.get(key);
    if (permit === undefined) {
      permit = ask(authorize, description);
      permit.catch(() => this.#permits.delete(key));
    }
    this.#permits.set(key, permit);
    return permit;
  }
}

async function ask(authorize: NonNullable<GatewayOptions['authorize']>, description: ServerDescription): Promise<void> {
  const server = description.id;
  let allowed: boolean;
  try {
    allowed = await authorize(description);
  } catch (cause) {
    throw new GatewayError('NOT_AUTHORIZED', 'the authorize function of the host failed', {
      server,
      cause,
      delivered: false,
    });
  }
  if (allowed !== true) {
    throw new GatewayError('NOT_AUTHORIZED', 'the host does not allow this server to be started', {
      server,
      delivered: false,
    });
  }
}

/** Says what an entry would start, without its secrets. */
export function describe({ definition, factory, redactor }: Describable): ServerDescription {
  const { id, env, baseDir, runtime } = definition;
  const details = factory.describe?.(runtime.spec, { server: id, env, baseDir }) ?? {};
  return {
    id,
    type: runtime.type,
    fingerprint: fingerprint(definition),
    details: redactDeep(details, redactor) as Record<string, unknown>,
  };
}

function redactDeep(value: unknown, redactor: Redactor): unknown {
  if (typeof value === 'string') {
    return redactor.text(value);
  }
  if (Array.isArray(value)) {
    return value.map((item) => redactDeep(item, redactor));
  }
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, redactDeep(item, redactor)]));
  }
  return value;
}
