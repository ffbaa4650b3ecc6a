import type { Link } from '../instance/link.js';
import { logLevels, tellLogLevel } from '../instance/tell-log-level.js';

/** From which level on a caller wants to read the logs of its servers; each server is told when it has opened. */
export class LogLevel {
  #level: unknown;

  /** What is wrong with a level; undefined for one that there is. */
  problemOf(level: unknown): string | undefined {
    return logLevels.includes(level) ? undefined : `params.level must be one of ${logLevels.join(', ')}`;
  }

  set(level: unknown, open: readonly Link[]): void {
    this.#level = level;
    for (const link of open) {
      this.tell(link);
    }
  }

  /** Tells a server, if the caller has set a level and the server writes a log. */
  tell(link: Link): void {
    tellLogLevel(link, this.#level === undefined ? undefined : { level: this.#level });
  }
}
