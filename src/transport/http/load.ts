import { once } from '../../util/once.js';

/** What a server over HTTP needs and others do not: loaded when the first one is opened. */
export const loadUndici = once(() => import('undici'));

/** The parser of server-sent events. */
export const loadEventParser = once(async () => (await import('eventsource-parser')).createParser);

/** Makes a parser of server-sent events. */
export type CreateEventParser = Awaited<ReturnType<typeof loadEventParser>>;
