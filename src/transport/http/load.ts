/** What a server over HTTP needs and others do not: loaded when the first one is opened; what failed is tried again. */
export const loadUndici = () => import('undici');
