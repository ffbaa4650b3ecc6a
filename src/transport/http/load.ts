import { once } from '../../util/once.js';

/** What a server over HTTP needs and others do not: loaded when the first one is opened. */
export const loadUndici = once(() => import('undici'));
