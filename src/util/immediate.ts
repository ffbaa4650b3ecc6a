import { clearImmediate as clearOfNode, setImmediate as ofNode } from 'node:timers';

/**
 * Node's own, also where a test has put fake timers in the place of the global one: a turn of the event loop is no time, and
 * nobody would let it go by.
 */
export const setImmediate = ofNode;
/** Of the same kind: others do not know what Node's own has made. */
export const clearImmediate = clearOfNode;

/** Resolves with the next turn of the event loop. */
export const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));
