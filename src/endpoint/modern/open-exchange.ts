import type { JSONRPCRequest } from '../../sdk.js';
import type { Fields } from '../../util/fields.js';
import type { CallerSession } from './caller-sessions.js';
import type { Reply } from './modern-call.js';

/** A request that is under way. */
export interface OpenExchange {
  /** The caller does not wait any more. */
  cancel(params?: Fields): void;
}

/**
 * Answers what needs to know what the server has said of itself.
 *
 * @param run - gets the answer to `initialize`; may return what ends it
 */
export function answerWhenOpen(
  session: CallerSession,
  { id }: JSONRPCRequest,
  reply: Reply,
  run: (initialized: Fields) => (() => void) | undefined,
): OpenExchange {
  let end: (() => void) | undefined;
  let hasLeft = false;
  session.whenOpen((answer) => {
    if (hasLeft) {
      return;
    }
    if ('error' in answer) {
      reply({ ...answer, id });
    } else {
      end = run(answer.result);
    }
  });
  return {
    cancel() {
      hasLeft = true;
      end?.();
    },
  };
}
