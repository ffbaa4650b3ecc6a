import { setImmediate, setTimeout } from 'node:timers/promises';
import { GatewayError } from '../../src/errors.js';
import type { JSONRPCMessage } from '../../src/sdk.js';
import { isNotification, isResponse } from '../../src/sdk.js';
import { abortable } from '../../src/util/abort.js';
import { once } from '../../src/util/once.js';
import { calledTool, type Fault } from './collect.js';

const never = new Promise<never>(() => {});
const noSignal = new AbortController().signal;

interface KnownFault extends Fault {
  /** The cases that find it. */
  readonly fails: readonly string[];
  /** Where a fault touches everything, others find it too. */
  readonly andMore?: boolean;
  /** Cases wait for their guards. */
  readonly hangs?: boolean;
}

/** Runtimes that are broken in one way each. */
export const faults: Record<string, KnownFault> = {
  // Rule 1
  'does not look at the signal': {
    open: (spec, context, inner) => inner.open(spec, { ...context, signal: noSignal }),
    fails: [
      'rule 1: open() that is aborted at once rejects with the reason and leaves nothing',
      'rule 1: open() that is aborted when it reports its first phase rejects with the reason and leaves nothing',
      'rule 1: open() with an aborted signal rejects with its reason and starts nothing',
    ],
  },
  'leaves the server of an aborted open()': {
    open: (spec, context, inner) => abortable(inner.open(spec, { ...context, signal: noSignal }), context.signal),
    fails: [
      'rule 1: open() that is aborted at once rejects with the reason and leaves nothing',
      'rule 1: open() that is aborted when it reports its first phase rejects with the reason and leaves nothing',
      'rule 1: open() with an aborted signal rejects with its reason and starts nothing',
    ],
  },
  'rejects an aborted open() with an error of its own': {
    open: (spec, context, inner) =>
      inner.open(spec, context).catch((error: unknown) => {
        throw context.signal.aborted ? new Error('aborted') : error;
      }),
    fails: [
      'rule 1: open() that is aborted at once rejects with the reason and leaves nothing',
      'rule 1: open() that is aborted when it reports its first phase rejects with the reason and leaves nothing',
      'rule 1: open() with an aborted signal rejects with its reason and starts nothing',
    ],
  },
  'lets the signal of open() end the transport later': {
    async open(spec, context, inner) {
      const transport = await inner.open(spec, context);
      context.signal.addEventListener('abort', () => void transport.close());
      return transport;
    },
    fails: ['rule 1: an abort after open() changes nothing'],
  },
  'rejects with an untyped error when the server cannot start': {
    open: (spec, context, inner) =>
      inner.open(spec, context).catch((error: unknown) => {
        throw GatewayError.is(error) ? new Error(error.message) : error;
      }),
    fails: [
      'rule 1: a factory works after an open() that failed',
      'rule 1: open() of a server that cannot start rejects with START_FAILED and names the entry',
    ],
  },
  'does not name the entry': {
    open: (spec, context, inner) => inner.open(spec, { ...context, server: '' }),
    fails: [
      'rule 1: open() of a server that cannot start rejects with START_FAILED and names the entry',
      'rule 5: the reason comes through onerror before onclose',
    ],
  },
  'hangs when the server cannot start': {
    hangs: true,
    open: (spec, context, inner) =>
      inner.open(spec, context).catch((error: unknown) => {
        if (context.signal.aborted) throw error;
        return never;
      }),
    fails: [
      'rule 1: a factory works after an open() that failed',
      'rule 1: open() of a server that cannot start rejects with START_FAILED and names the entry',
    ],
  },
  // Rules 2 and 3
  'starts the transport in open()': {
    transport(outer, inner) {
      void inner.start();
      outer.start = async () => {};
    },
    fails: [
      'rule 2: open() returns a transport that nobody has started',
      'rule 3: messages that came before start() are delivered in order',
      'rule 3: what a server said before it ended is delivered by a start() that comes later',
    ],
  },
  'loses messages that came before start()': {
    transport(outer, inner) {
      const { onmessage } = inner;
      let started = false;
      inner.onmessage = (message, extra) => started && onmessage?.(message, extra);
      outer.start = async () => {
        await inner.start();
        await setImmediate();
        started = true;
      };
    },
    fails: [
      'rule 2: open() returns a transport that nobody has started',
      'rule 3: messages that came before start() are delivered in order',
      'rule 3: what a server said before it ended is delivered by a start() that comes later',
    ],
  },
  'delivers messages in another order': {
    transport(_outer, inner) {
      const { onmessage } = inner;
      let held: JSONRPCMessage | undefined;
      inner.onmessage = (message) => {
        if (held === undefined && isNotification(message)) {
          held = message;
          return;
        }
        onmessage?.(message);
        if (held !== undefined) onmessage?.(held);
        held = undefined;
      };
    },
    fails: [
      'messages: 5000 small ones arrive in order from the server',
      'rule 3: messages that came before start() are delivered in order',
      'rule 3: what a server said before it ended is delivered by a start() that comes later',
      'rule 8: a crash in the middle of a message delivers no half of it',
    ],
  },
  // Rule 4
  'fires onclose with every close()': {
    hangs: true,
    transport(outer, inner) {
      inner.onclose = () => {};
      outer.close = async () => {
        await inner.close();
        outer.onclose?.();
      };
    },
    fails: [
      'rule 4: onclose fires once when the server ends while it is closed',
      'rule 6: close() may be called by onmessage, onerror and onclose',
      'rule 6: close() may be called three times at once',
      'rule 6: close() may be called twice',
    ],
    andMore: true,
  },
  'never fires onclose when it is closed before start()': {
    hangs: true,
    transport(outer, inner) {
      const { onclose } = inner;
      let started = false;
      inner.onclose = () => started && onclose?.();
      outer.start = async () => {
        started = true;
        await inner.start();
      };
    },
    fails: [
      'rule 2: start() of a transport that was closed settles, and onclose does not fire again',
      'rule 4: close() before start() fires onclose once',
    ],
  },
  'fires onclose before the server is gone': {
    transport(outer, inner) {
      const { onclose } = inner;
      let closed = false;
      inner.onclose = () => {
        if (closed) return;
        closed = true;
        onclose?.();
      };
      outer.close = async () => {
        inner.onclose?.();
        await setTimeout(300);
        await inner.close();
      };
    },
    fails: [
      'rule 4: onclose fires once when the server ends while it is closed',
      'rule 4: when onclose fires after close(), the server is gone',
      'rule 6: close() may be called by onmessage, onerror and onclose',
    ],
  },
  'settles close() before the server is gone': {
    transport(outer, inner) {
      outer.close = async () => {
        void setTimeout(300).then(() => inner.close());
      };
    },
    fails: ['rule 4: when close() has settled, the server is gone', 'rule 7: send() after close() rejects'],
  },
  'never closes the server': {
    transport(outer, inner) {
      const { onclose } = inner;
      let closed = false;
      inner.onclose = () => {
        if (closed) return;
        closed = true;
        onclose?.();
      };
      outer.close = async () => inner.onclose?.();
    },
    fails: [
      'rule 4: close() before start() fires onclose once',
      'rule 4: when close() has settled, the server is gone',
      'rule 4: when onclose fires after close(), the server is gone',
    ],
    andMore: true,
  },
  'starts nothing, and never ends its sessions': {
    hangs: true,
    factory: (inner) => ({ supports: { ...inner.supports, starts: false } }),
    transport(outer, inner) {
      outer.close = async () => {
        inner.onclose?.();
        inner.onclose = () => {};
      };
    },
    fails: [
      'rule 4: when close() has settled, the server is gone',
      'rule 4: when onclose fires after close(), the server is gone',
    ],
    andMore: true,
  },
  'delivers after onclose': {
    transport(_outer, inner) {
      const { onmessage, onclose } = inner;
      inner.onclose = () => {
        onclose?.();
        Promise.resolve({ jsonrpc: '2.0', method: 'notifications/late' } as const)
          .then((message) => onmessage?.(message))
          .catch(() => {});
      };
    },
    fails: ['rule 4: nothing is delivered after onclose'],
    andMore: true,
  },
  // Rule 5
  'gives no reason': {
    transport(_outer, inner) {
      inner.onerror = () => {};
    },
    fails: [
      'factory: errors hold no value of the env',
      'factory: the end of one server leaves the other alone',
      'rule 3: what a server said before it ended is delivered by a start() that comes later',
      'rule 5: the reason comes through onerror before onclose',
      'rule 5: the reason comes when a server ends before it has answered anything',
      'rule 7: every send() settles when the server stops reading and then dies',
      'rule 8: a crash in the middle of a message delivers no half of it',
      'rule 8: a crash settles 200 sends that wait',
      'rule 8: a crash with requests in flight ends the transport',
      'rule 8: what a server said before it crashed is delivered before its end',
    ],
  },
  'gives the reason after onclose': {
    transport(_outer, inner) {
      const { onerror, onclose } = inner;
      let reason: Error | undefined;
      inner.onerror = (error) => {
        reason = error;
      };
      inner.onclose = () => {
        onclose?.();
        if (reason !== undefined) onerror?.(reason);
      };
    },
    fails: ['rule 5: the reason comes through onerror before onclose'],
    andMore: true,
  },
  'gives the reason as an untyped error': {
    transport(_outer, inner) {
      const { onerror } = inner;
      inner.onerror = (error) => onerror?.(new Error(error.message));
    },
    fails: [
      'factory: errors hold no value of the env',
      'factory: the end of one server leaves the other alone',
      'rule 3: what a server said before it ended is delivered by a start() that comes later',
      'rule 5: the reason comes through onerror before onclose',
      'rule 5: the reason comes when a server ends before it has answered anything',
      'rule 7: every send() settles when the server stops reading and then dies',
      'rule 8: a crash in the middle of a message delivers no half of it',
      'rule 8: a crash settles 200 sends that wait',
      'rule 8: a crash with requests in flight ends the transport',
      'rule 8: what a server said before it crashed is delivered before its end',
    ],
  },
  'gives a reason for a close() that was asked for': {
    transport(outer, inner) {
      outer.close = once(async () => {
        outer.onerror?.(new GatewayError('SERVER_EXITED', 'killed', { exit: { stderrTail: '' } }));
        await inner.close();
      });
    },
    fails: [
      'factory: errors hold no value of the env',
      'factory: the end of one server leaves the other alone',
      'rule 3: what a server said before it ended is delivered by a start() that comes later',
      'rule 4: onclose fires once when the server ends by itself, and again is closed',
      'rule 5: a close() that was asked for has no reason to tell',
      'rule 5: the reason comes through onerror before onclose',
      'rule 5: the reason comes when a server ends before it has answered anything',
      'rule 6: close() of a server that is gone is a success',
      'rule 7: every send() settles when the server stops reading and then dies',
      'rule 7: send() after the end of the server rejects',
      'rule 8: a crash in the middle of a message delivers no half of it',
      'rule 8: a crash makes health() reject',
      'rule 8: a crash settles 200 sends that wait',
      'rule 8: a crash with requests in flight ends the transport',
      'rule 8: what a server said before it crashed is delivered before its end',
    ],
  },
  'claims exit codes that it does not have': {
    factory: () => ({ supports: { stderr: false } }),
    fails: ['rule 5: the reason holds the exit code', 'rule 5: the reason holds the signal'],
  },
  'claims a stderr that it does not see': {
    factory: () => ({ supports: { exit: false } }),
    fails: ['rule 5: the reason holds the end of stderr, and no more of it than the limit'],
  },
  // Rule 6
  'rejects a second close()': {
    transport(outer, inner) {
      let closing = false;
      outer.close = async () => {
        if (closing) throw new Error('already closed');
        closing = true;
        await inner.close();
      };
    },
    fails: [
      'rule 6: close() may be called by onmessage, onerror and onclose',
      'rule 6: close() may be called three times at once',
      'rule 6: close() may be called twice',
    ],
    andMore: true,
  },
  'rejects close() when the server is gone': {
    transport(outer, inner) {
      const { onerror } = inner;
      let gone = false;
      inner.onerror = (error) => {
        gone = true;
        onerror?.(error);
      };
      outer.close = async () => {
        if (gone) throw new Error('no such process');
        await inner.close();
      };
    },
    fails: [
      'rule 4: onclose fires once when the server ends by itself, and again is closed',
      'rule 6: close() of a server that is gone is a success',
    ],
    andMore: true,
  },
  'hangs when close() is called within a callback': {
    hangs: true,
    transport(outer, inner) {
      const { onmessage } = inner;
      let within = false;
      inner.onmessage = (message) => {
        within = true;
        onmessage?.(message);
        within = false;
      };
      outer.close = () => (within ? never : inner.close());
    },
    fails: [
      'messages: an onmessage that throws harms neither the transport nor the process',
      'rule 6: close() may be called by onmessage, onerror and onclose',
    ],
  },
  // Rule 7
  'never settles a send() to a server that does not read': {
    hangs: true,
    transport(outer, inner) {
      let deaf = false;
      outer.send = async (message) => {
        await (deaf ? never : inner.send(message));
        if (calledTool(message) === 'deaf') deaf = true;
      };
    },
    fails: [
      'rule 7: every send() settles when the server stops reading and then dies',
      'rule 7: every send() settles when the transport is closed while the server does not read',
    ],
  },
  'resolves a send() after close()': {
    transport(outer, inner) {
      let closed = false;
      const { onclose } = inner;
      inner.onclose = () => {
        closed = true;
        onclose?.();
      };
      outer.send = async (message) => {
        if (!closed) await inner.send(message);
      };
    },
    fails: ['rule 7: send() after close() rejects', 'rule 7: send() after the end of the server rejects'],
  },
  'rejects a send() with an untyped error': {
    transport(outer, inner) {
      outer.send = (message) =>
        inner.send(message).catch(() => {
          throw new Error('EPIPE');
        });
    },
    fails: [
      'rule 2: send() before start() settles, and harms nothing',
      'rule 7: send() after close() rejects',
      'rule 7: send() after the end of the server rejects',
    ],
  },
  'hangs in a send() of what is no JSON': {
    hangs: true,
    transport(outer, inner) {
      outer.send = (message) =>
        inner.send(message).catch((error) => (error.code === 'MESSAGE_INVALID' ? never : Promise.reject(error)));
    },
    fails: ['rule 7: send() of what is no JSON rejects, and harms nothing'],
  },
  // Rule 8
  'does not notice that the server ended': {
    hangs: true,
    transport(outer, inner) {
      const { onclose } = inner;
      inner.onclose = () => {};
      inner.onerror = () => {};
      const close = once(async () => {
        await inner.close();
        onclose?.();
      });
      outer.close = close;
    },
    fails: [
      'factory: errors hold no value of the env',
      'factory: the end of one server leaves the other alone',
      'rule 3: what a server said before it ended is delivered by a start() that comes later',
      'rule 4: onclose fires once when the server ends by itself, and again is closed',
      'rule 5: the reason comes through onerror before onclose',
      'rule 5: the reason comes when a server ends before it has answered anything',
      'rule 6: close() of a server that is gone is a success',
      'rule 7: every send() settles when the server stops reading and then dies',
      'rule 7: send() after the end of the server rejects',
      'rule 8: a crash in the middle of a message delivers no half of it',
      'rule 8: a crash makes health() reject',
      'rule 8: a crash settles 200 sends that wait',
      'rule 8: a crash with requests in flight ends the transport',
      'rule 8: what a server said before it crashed is delivered before its end',
    ],
  },
  'never settles sends that wait while the server crashes': {
    hangs: true,
    transport(outer, inner) {
      let crashing = false;
      outer.send = (message) => {
        const sent = crashing ? never : inner.send(message);
        crashing ||= calledTool(message) === 'crash';
        return sent;
      };
    },
    fails: ['rule 7: send() after the end of the server rejects', 'rule 8: a crash settles 200 sends that wait'],
  },
  'loses what the server said before it ended': {
    transport(_outer, inner) {
      const { onmessage, onclose } = inner;
      let closed = false;
      inner.onmessage = (message) =>
        void setImmediate()
          .then(() => closed || onmessage?.(message))
          .catch(() => {});
      inner.onclose = () => {
        closed = true;
        onclose?.();
      };
    },
    // On a busy machine the last word of a server that dies a moment later is lost as well.
    andMore: true,
    fails: [
      'rule 3: what a server said before it ended is delivered by a start() that comes later',
      'rule 8: what a server said before it crashed is delivered before its end',
    ],
  },
  'delivers half a message': {
    transport(_outer, inner) {
      const { onmessage, onerror } = inner;
      inner.onerror = (error) => {
        if (GatewayError.is(error)) onmessage?.({ jsonrpc: '2.0', method: 'notifications/reference' });
        onerror?.(error);
      };
    },
    fails: [
      'rule 3: what a server said before it ended is delivered by a start() that comes later',
      'rule 5: the reason comes when a server ends before it has answered anything',
      'rule 8: a crash in the middle of a message delivers no half of it',
      'rule 8: a crash with requests in flight ends the transport',
      'rule 8: what a server said before it crashed is delivered before its end',
    ],
  },
  'makes up answers when the server crashes': {
    transport(_outer, inner) {
      const { onmessage, onerror } = inner;
      inner.onerror = (error) => {
        if (GatewayError.is(error)) onmessage?.({ jsonrpc: '2.0', id: 1, error: { code: 1, message: 'gone' } });
        onerror?.(error);
      };
    },
    fails: [
      'rule 3: what a server said before it ended is delivered by a start() that comes later',
      'rule 5: the reason comes when a server ends before it has answered anything',
      'rule 8: a crash with requests in flight ends the transport',
      'rule 8: what a server said before it crashed is delivered before its end',
    ],
  },
  'calls a dead server healthy': {
    transport(outer) {
      outer.health = async () => {};
    },
    fails: ['rule 8: a crash makes health() reject'],
  },
  // Messages
  'drops fields that it does not know': {
    transport(_outer, inner) {
      const { onmessage } = inner;
      inner.onmessage = (message) => {
        if (isResponse(message) && 'result' in message) delete (message.result.params as { deep?: unknown })?.deep;
        onmessage?.(message);
      };
    },
    fails: ['messages: unknown fields, odd characters and deep values arrive unchanged'],
  },
  'delivers a message twice': {
    hangs: true,
    transport(_outer, inner) {
      const { onmessage } = inner;
      inner.onmessage = (message) => {
        onmessage?.(message);
        if (isNotification(message)) onmessage?.(message);
      };
    },
    fails: [
      'messages: 5000 small ones arrive in order from the server',
      'rule 2: open() returns a transport that nobody has started',
      'rule 3: messages that came before start() are delivered in order',
      'rule 3: what a server said before it ended is delivered by a start() that comes later',
      'rule 8: a crash in the middle of a message delivers no half of it',
    ],
  },
  'cannot carry large messages': {
    hangs: true,
    transport(outer, inner) {
      outer.send = (message) => inner.send(message);
      const { onmessage } = inner;
      inner.onmessage = (message) => {
        if (JSON.stringify(message).length < 2 ** 20) onmessage?.(message);
      };
    },
    fails: [
      'messages: 4 MiB arrive in either direction',
      'rule 8: what a server said before it crashed is delivered before its end',
    ],
  },
  'closes when onmessage throws': {
    transport(outer, inner) {
      inner.onmessage = (message) => {
        try {
          outer.onmessage?.(message);
        } catch {
          void inner.close();
        }
      };
    },
    fails: ['messages: an onmessage that throws harms neither the transport nor the process'],
  },
  // The factory
  'validates asynchronously': {
    factory: (inner) => ({
      spec: {
        '~standard': { ...inner.spec['~standard'], validate: async (value) => inner.spec['~standard'].validate(value) },
      },
    }),
    fails: ['factory: its schema accepts both specs, synchronously'],
  },
  'does not hand on the env': {
    open: (spec, context, inner) => inner.open(spec, { ...context, env: {} }),
    fails: ['factory: the server gets the env of the context'],
  },
  'writes the env into its errors': {
    open: (spec, context, inner) =>
      inner.open(spec, context).catch((error: unknown) => {
        if (!GatewayError.is(error)) throw error;
        throw new GatewayError(error.code, `${error.message} ${JSON.stringify(context.env)}`, {
          server: context.server,
        });
      }),
    fails: ['factory: errors hold no value of the env'],
  },
  'writes the env into its description': {
    factory: () => ({ describe: (_spec, { env }) => ({ env: { ...env } }) }),
    fails: ['factory: describe() is plain JSON without values of the env, and starts nothing'],
  },
  'starts the server to check it': {
    factory: (inner) => ({
      async check(spec, context) {
        const transport = await inner.open(spec, context).catch((error: unknown) => {
          if (context.signal.aborted) throw error;
        });
        await setTimeout(100);
        await transport?.close();
        return transport === undefined ? { ok: false, problems: ['it does not start'] } : { ok: true, problems: [] };
      },
    }),
    fails: ['factory: check() says that a server can be started, and does not start it'],
  },
  'finds everything in order': {
    factory: () => ({ check: async () => ({ ok: true, problems: [] }) }),
    fails: ['factory: check() says what is missing', 'factory: check() with an aborted signal rejects with its reason'],
  },
  'hangs in close() of the factory': {
    hangs: true,
    factory: () => ({ close: () => never }),
    fails: ['factory: its schema accepts both specs, synchronously'],
    andMore: true,
  },
};
