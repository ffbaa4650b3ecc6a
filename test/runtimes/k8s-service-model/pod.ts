import type { Judge } from '../remote-sse-model/judge.js';
import { StreamableServer } from '../remote-sse-model/streamable-server.js';

export type Kind = 'sessions' | 'no sessions' | 'modern';

/** A pod behind a service, and the server in it, which listens on a port of its own. */
export class PlayedPod {
  readonly name: string;
  readonly uid: string;
  readonly server: StreamableServer;
  isReady = false;
  /** It is being shut down, or is gone. */
  isLeaving = false;

  constructor(number: number, name: string, judge: Judge, setting: number, kind: Kind) {
    this.name = name;
    this.uid = `uid-${number}`;
    this.server = createServer(judge, setting + number * 104_729, kind);
  }

  get port(): number {
    return this.server.play.host.port;
  }

  /** The end of its process. */
  async end(byReset: boolean): Promise<void> {
    this.isLeaving = true;
    this.server.forget();
    await this.server.play.host.close(byReset);
  }
}

/** There is no OAuth here, and no function of the host: access is a header of the catalog. */
function createServer(judge: Judge, setting: number, kind: Kind): StreamableServer {
  const server = new StreamableServer(judge, { setting, access: 'catalog' }, kind);
  server.isBehindOthers = true;
  // Whether waits are long enough is looked at where time stands still: here it goes too fast to be measured.
  server.play.now = () => Number.POSITIVE_INFINITY;
  return server;
}
