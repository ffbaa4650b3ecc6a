/**
 * What a server over HTTP needs and others do not: loaded when the first one is opened; what failed is tried again. A file of its
 * own that a bundler makes of it exports nothing but the default.
 */
export const loadUndici = async () => (await import('undici')).default;
