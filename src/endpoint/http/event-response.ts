/** How long an answer may take before the response begins without it: proxies and clients wait for headers only so long. */
export const patienceMs = 5_000;

/** How often a stream gets a comment: proxies end what is silent for long. */
export const keepAliveMs = 15_000;

/** What a client may leave unread before it is given up. */
export const mostUnreadBytes = 16 * 1024 * 1024;

/** Of a response of server-sent events. */
export const eventHeaders = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no',
};
