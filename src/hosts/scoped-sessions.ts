import type { WebSessions } from './web-sessions.js';

interface Scope {
  readonly opening: Promise<WebSessions>;
  sessions: WebSessions | undefined;
  /** Requests under way: each may begin a session. */
  requests: number;
}

/** Sessions by what of the catalog they are for. Of a scope without a session nothing is kept: there may be one for each user. */
export class ScopedSessions {
  readonly #scopes = new Map<string, Scope>();

  /** Has the sessions of a scope answer a request. */
  async handle(key: string, create: () => Promise<WebSessions>, request: Request): Promise<Response> {
    const scope = this.#scopes.get(key) ?? this.#add(key, create);
    scope.requests += 1;
    try {
      scope.sessions = await scope.opening;
      return await scope.sessions.handle(request);
    } finally {
      scope.requests -= 1;
    }
  }

  /** Closes every session at once. */
  async close(): Promise<void> {
    const closing = [...this.#scopes.values()].map(async ({ opening }) => {
      // What could not be opened is told to who wanted it.
      const opened = await opening.catch(() => undefined);
      await opened?.close({ graceMs: 0 });
    });
    await Promise.all(closing);
  }

  #add(key: string, create: () => Promise<WebSessions>): Scope {
    for (const [other, { requests, sessions }] of this.#scopes) {
      if (requests === 0 && sessions?.size === 0) {
        this.#scopes.delete(other);
      }
    }
    const scope: Scope = { opening: create(), sessions: undefined, requests: 0 };
    this.#scopes.set(key, scope);
    // The next one tries again.
    scope.opening.catch(() => this.#scopes.delete(key));
    return scope;
  }
}
