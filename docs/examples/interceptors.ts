import type { InterceptedRequest, Interceptor } from 'open-mcp-gateway';

// #region allow
/** Lets only members of a team call the tools of one server. */
export const onlyTeam = (server: string, team: string): Interceptor => {
  return (request, next) => {
    const teams = (request.caller.data as { teams?: string[] } | undefined)?.teams ?? [];
    if (request.server === server && request.method === 'tools/call' && !teams.includes(team)) {
      // An integer code becomes the code of the error response.
      throw Object.assign(new Error(`only team ${team} may do this`), { code: 4003 });
    }
    return next();
  };
};
// #endregion allow

// #region audit
/** Tells what was asked, by whom, and how it ended; arguments and results stay out of it. */
export const audit = (write: (line: string) => void): Interceptor => {
  return async ({ caller, server, method, params }, next) => {
    const what = `${caller.principal ?? 'anonymous'} ${server} ${method} ${String(params.name ?? '')}`.trim();
    try {
      const result = await next();
      write(`${what} ${result.isError === true ? 'failed' : 'ok'}`);
      return result;
    } catch (error) {
      write(`${what} refused`);
      throw error;
    }
  };
};
// #endregion audit

// #region limit
/** Allows each principal so many calls at once. */
export const limitCalls = (max: number): Interceptor => {
  const running = new Map<string, number>();
  return async ({ caller, method }, next) => {
    if (method !== 'tools/call') {
      return next();
    }
    const who = caller.principal ?? 'anonymous';
    const count = running.get(who) ?? 0;
    if (count >= max) {
      throw Object.assign(new Error(`${max} calls are running already`), { code: 4290 });
    }
    running.set(who, count + 1);
    try {
      return await next();
    } finally {
      // Also after a cancelled call: next() rejects then.
      running.set(who, (running.get(who) ?? 1) - 1);
    }
  };
};
// #endregion limit

// #region filter
/** Takes numbers that look like card numbers out of every text that a tool answers. */
export const withoutCardNumbers: Interceptor = async (_request, next) => {
  const result = await next();
  if (!Array.isArray(result.content)) {
    return result;
  }
  const content = result.content.map((part) =>
    typeof part.text === 'string' ? { ...part, text: part.text.replace(/\b\d{16}\b/g, '[card number]') } : part,
  );
  return { ...result, content };
};
// #endregion filter

// #region consent
/** Has a person say yes to each call, and takes the question back when nobody waits for the answer any more. */
export const withConsent = (ask: (question: string, signal: AbortSignal) => Promise<boolean>): Interceptor => {
  return async ({ caller, server, method, params, signal }, next) => {
    if (method === 'tools/call' && !(await ask(`${caller.principal} wants ${server} to ${params.name}`, signal))) {
      throw Object.assign(new Error('a person has said no'), { code: 4031 });
    }
    return next();
  };
};
// #endregion consent

// #region chain
/** One interceptor made of several: the first stands outermost. */
export const chain = (...interceptors: Interceptor[]): Interceptor => {
  return (request, next) =>
    interceptors.reduceRight<Interceptor>(
      (inner, outer) => (asked, last) =>
        outer(asked, (params = asked.params) => inner({ ...asked, params } as InterceptedRequest, last)),
      (asked, last) => last(asked.params),
    )(request, next);
};
// #endregion chain
