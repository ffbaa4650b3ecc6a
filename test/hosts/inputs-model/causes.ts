import type { Json } from '../../endpoint/scripted-server.js';
import type { Leg } from './parts.js';

/** What a stop or a reload may take until its end. */
const aftermathMs = 15_000;

/** What has befallen servers, by which requests to them may end. */
export class Causes {
  readonly #all: { readonly what: string; readonly server: string; readonly at: number }[] = [];
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  add(what: string, server: string): void {
    this.#all.push({ what, server, at: this.#now() });
  }

  /** How much has befallen a server. */
  of(server: string): number {
    return this.#all.filter((each) => each.server === server).length;
  }

  /** Whether anything has befallen a server since then. */
  hasBefallen(server: string, since: number): boolean {
    return this.#all.some((each) => each.server === server && each.at >= since);
  }

  /** Whether a server may still be ending or beginning. */
  isShaken(server: string): boolean {
    return this.#all.some((each) => each.server === server && this.#now() - each.at < aftermathMs);
  }

  /** Whether a request may have been answered with this error, which its server has not said. */
  mayEnd(leg: Leg, error: Json, timeoutMs: number, isClosing: boolean): boolean {
    const { server } = leg.wish;
    const since = leg.beganAt - aftermathMs;
    const by = (...whats: string[]) =>
      this.#all.some((each) => whats.includes(each.what) && each.server === server && each.at >= since);
    switch ((error.data as Json | undefined)?.code) {
      case 'SERVER_EXITED':
        return by('death', 'stop', 'restart', 'reload');
      case 'SERVER_STOPPED':
        return isClosing || by('stop', 'restart', 'reload');
      case 'REQUEST_TIMEOUT':
        return this.#now() - leg.beganAt >= timeoutMs;
      case 'TRANSPORT_CLOSED':
      case 'GATEWAY_CLOSED':
        return isClosing;
      default:
        return false;
    }
  }
}
