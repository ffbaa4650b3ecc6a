import { logLevels } from '../../instance/tell-log-level.js';
import type { JSONRPCNotification, RequestId } from '../../sdk.js';
import type { SendInfo } from '../peer.js';
import type { CallerSession } from './caller-sessions.js';
import { resumable } from './input-requests.js';
import type { ModernCall } from './modern-call.js';

/** The open calls of one stateless caller, and what of a session belongs to which of them. */
export class CallTable {
  readonly #calls = new Map<RequestId, ModernCall>();

  get size(): number {
    return this.#calls.size;
  }

  get all(): ModernCall[] {
    return [...this.#calls.values()];
  }

  get(id: RequestId): ModernCall | undefined {
    return this.#calls.get(id);
  }

  add(call: ModernCall): void {
    this.#calls.set(call.id, call);
  }

  /** False when it was taken out already. */
  delete({ id }: ModernCall): boolean {
    return this.#calls.delete(id);
  }

  clear(): void {
    this.#calls.clear();
  }

  isUsing(session: CallerSession): boolean {
    return this.all.some((call) => call.session === session);
  }

  /**
   * Where several calls are open, most servers do not say in which they ask: then it is one that waits, and has been asked
   * least, since clients take only so many rounds.
   */
  toAskIn(session: CallerSession, related: RequestId | undefined, server: string | undefined): ModernCall | undefined {
    return (related === undefined ? undefined : this.#calls.get(related)) ?? this.resumable(session, server)[0];
  }

  /** The calls of a session to a server in which the caller can be asked, the best first. */
  resumable(session: CallerSession, server: string | undefined): ModernCall[] {
    return this.all
      .filter((call) => call.session === session && resumable.has(call.request.method))
      .filter((call) => session.peer.serverOf(call.id) === server)
      .sort((a, b) => Number(a.reply === undefined) - Number(b.reply === undefined) || a.round - b.round);
  }

  /** Hands a notification of a session to the call that it belongs to, if that wants it. */
  notify(session: CallerSession, message: JSONRPCNotification, { related, server, isGuess }: SendInfo): void {
    const { method, params } = message;
    const call = related === undefined ? undefined : this.#calls.get(related);
    switch (method) {
      case 'notifications/progress': {
        const own = this.#calls.get(params?.progressToken as RequestId);
        if (own?.progressToken !== undefined) {
          own.reply?.({ ...message, params: { ...params, progressToken: own.progressToken } });
        }
        return;
      }
      case 'notifications/message': {
        const level = logLevels.indexOf(params?.level);
        const wants = ({ logLevel, reply }: ModernCall) =>
          reply !== undefined && logLevel !== undefined && level >= logLevels.indexOf(logLevel);
        const mayBeOf = (each: ModernCall) => each.session === session && session.peer.serverOf(each.id) === server;
        // Servers write for calls that want it.
        const own = isGuess && !(call && wants(call)) ? this.all.find((each) => mayBeOf(each) && wants(each)) : call;
        own && wants(own) && own.reply?.(message);
        return;
      }
      case 'notifications/elicitation/complete':
      case 'notifications/tasks/status':
        // Sessions alone have them.
        return;
      default:
        call?.reply?.(message);
    }
  }
}
