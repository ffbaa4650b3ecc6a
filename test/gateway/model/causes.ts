import type { Json } from '../../endpoint/scripted-server.js';
import type { Call, Judge, Sent } from './judge.js';

type What =
  | 'death'
  | 'unhealthy'
  | 'failed start'
  | 'held start'
  | 'started'
  | 'stopped'
  | 'replaced'
  | 'shown'
  | 'refused'
  | 'closing';

interface Happening {
  readonly what: What;
  /** Undefined for what concerns all. */
  readonly server: string | undefined;
  /** Undefined while it goes on. */
  until: number | undefined;
}

/** What has happened, and when: nobody may be told of a failure that has no cause. */
export class Causes {
  readonly #now: () => number;
  readonly #happenings: Happening[] = [];

  /** @param now - never goes back, and rises with what happens */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** @returns to be called at its end */
  begin(what: What, server?: string): () => void {
    const happening: Happening = { what, server, until: undefined };
    this.#happenings.push(happening);
    return () => {
      happening.until ??= this.#now();
    };
  }

  add(what: What, server?: string): void {
    this.begin(what, server)();
  }

  /** Whether one of these has happened since then, or still does. */
  since(when: number, server: string, whats: readonly What[]): boolean {
    return this.#happenings.some(
      (each) =>
        whats.includes(each.what) &&
        (each.server === undefined || each.server === server) &&
        (each.until === undefined || each.until >= when),
    );
  }
}

/** Whether something has happened since a call was sent that explains its failure. */
export function hasCause(judge: Judge, { member, params }: Sent, call: Call, error: Json): boolean {
  const { since, sentMs, server, how, isTask } = call;
  const { entries } = judge;
  const text = String(error.message);
  const by = (...whats: What[]) => judge.causes.since(since, server, whats);
  const ever = (...whats: What[]) => judge.causes.since(0, server, whats);
  switch ((error.data as Json | undefined)?.code ?? error.code) {
    case 'SERVER_EXITED':
      return by('death');
    case 'SERVER_UNHEALTHY':
      return by('unhealthy');
    case 'SERVER_STOPPED':
      return (
        by('stopped', 'replaced', 'closing') ||
        // One that was kept ends when it likes, and with it the connections to it alone.
        (member.to !== undefined && ever('replaced'))
      );
    case 'START_FAILED':
      // One that ends when it is asked a second time has refused the first.
      return by('failed start') || (by('death') && text.includes('refused initialize'));
    case 'START_TIMEOUT':
      // One that is started afresh in its handshake waits anew for room and for the host.
      return by('held start') || judge.limits !== undefined || judge.authorizes;
    case 'REQUEST_TIMEOUT':
      return judge.nowMs() - sentMs >= 60_000;
    case 'GATEWAY_CLOSED':
      return by('closing');
    case 'TRANSPORT_CLOSED':
      // Its start may have failed, of which those are told that no interceptor holds.
      return member.to !== undefined && text.includes('the connection has ended before its interceptor has');
    case 'SERVER_DISABLED':
      return by('replaced') || !entries.of(server).enabled;
    case 'SERVER_UNKNOWN':
      return by('replaced', 'shown') || !entries.ids.includes(server);
    case 'NOT_AUTHORIZED':
      return by('refused');
    case 'LIMIT_REACHED':
      return judge.limits !== undefined;
    case 'CRASH_LOOP':
      return (
        (entries.of(server).settings.restart as Json).max === 1 &&
        ever('death', 'unhealthy', 'failed start', 'held start')
      );
    case 4003:
      return how === 'refuse';
    case -32050:
      return true;
    case 400:
    case 404:
      // A client over HTTP without a session: it may have ended, or never begun.
      return member.kind === 'fetch' && text.toLowerCase().includes('session');
    case 503:
      return member.kind === 'fetch' && by('closing');
    case -32601:
    case -32603:
      return (
        member.era === 'legacy' &&
        // Also of a call that a stateless server has made a task of.
        (text.startsWith('the client could not answer') || text === 'the task was cancelled')
      );
    case -32002:
    case -32602:
      return (
        params.requestState !== undefined ||
        (isTask && text.startsWith('nothing can run as a task')) ||
        text.includes('no list came from') ||
        by('replaced', 'shown') ||
        !entries.visible(member.seen).some(({ id }) => id === server)
      );
    default:
      return false;
  }
}
