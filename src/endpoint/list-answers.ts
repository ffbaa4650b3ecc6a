import { toSessionTools } from '../instance/era/structured-content.js';
import type { Link } from '../instance/link.js';
import type { Clock } from '../options.js';
import type { JSONRPCRequest } from '../sdk.js';
import { hasEnvelope } from '../transport/modern.js';
import { settledWithin } from '../util/abort.js';
import type { Calls } from './calls.js';
import type { EndpointServer } from './endpoint-server.js';
import { toCacheFields } from './freshness.js';
import { toResponse } from './intercept.js';
import { listTasks } from './list-all.js';
import type { ListKind } from './list-kinds.js';
import type { Page } from './list-pages.js';
import type { MergedLists } from './merged-lists.js';
import type { PeerExtra } from './peer.js';
import type { TaskOwners } from './tasks.js';
import { toWholeTask } from './whole-item.js';

export interface ListAnswersOptions {
  /** By id, as the catalog is now. */
  readonly servers: ReadonlyMap<string, EndpointServer>;
  readonly clock: Clock;
  readonly calls: Calls;
  readonly lists: MergedLists;
  readonly tasks: TaskOwners;
  /** The links whose servers are running. */
  running(): readonly Link[];
}

/** Answers the requests of a caller for lists of what all its servers have. */
export class ListAnswers {
  readonly #options: ListAnswersOptions;

  constructor(options: ListAnswersOptions) {
    this.#options = options;
  }

  list(request: JSONRPCRequest, kind: ListKind, extra: PeerExtra | undefined): void {
    const { calls, lists } = this.#options;
    const cursor = cursorOf(request);
    if (cursor !== undefined) {
      const page = lists.next(kind, cursor);
      return page === undefined
        ? calls.refuse(request, -32602, unknownCursor)
        : calls.answer(request, toListResult(request, kind, page));
    }
    const call = calls.open(request);
    lists.first(kind, extra, call).then(
      (page) => calls.finish(call, { jsonrpc: '2.0', id: call.id, result: toListResult(request, kind, page) }),
      (error: unknown) => calls.finish(call, toResponse(call.id, 'gateway', error)),
    );
  }

  /** The tasks of all servers that run; no server is started for its list. */
  listTasks(request: JSONRPCRequest): void {
    const { calls, servers, clock, tasks: owners, running } = this.#options;
    if (cursorOf(request) !== undefined) {
      // This list has one page alone.
      return calls.refuse(request, -32602, unknownCursor);
    }
    const call = calls.open(request);
    const parts = running().map(async (link) => {
      const { handshake } = link;
      const capability = handshake?.capabilities.tasks as { list?: unknown } | undefined;
      if (capability?.list === undefined) {
        return [];
      }
      const asked = listTasks(link);
      // A server that keeps silent costs its own part alone, as with any other list.
      if (!(await settledWithin(asked, servers.get(link.server)?.listTimeoutMs ?? 0, clock))) {
        return [];
      }
      const tasks = await asked;
      // It may have been sent to rest with its answer: then they are none of the next one.
      const own = owners.translate(link.server, { tasks }, link.handshake === handshake ? link : undefined);
      // Only now: of a task without a ttl, what was said before holds.
      return own.tasks.map(toWholeTask);
    });
    void Promise.allSettled(parts).then((results) => {
      const tasks = results.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
      calls.finish(call, { jsonrpc: '2.0', id: call.id, result: { tasks } });
    });
  }
}

const unknownCursor = 'the cursor is unknown or has expired; ask for the first page again';

/** Of a later page. Some write an empty one, or null, for the first. */
function cursorOf({ params }: JSONRPCRequest): unknown {
  return params?.cursor === '' ? undefined : (params?.cursor ?? undefined);
}

function toListResult(request: JSONRPCRequest, kind: ListKind, page: Page): Record<string, unknown> {
  const { items, nextCursor, freshness } = page;
  const isStateless = hasEnvelope(request);
  return {
    [kind]: kind === 'tools' && !isStateless ? toSessionTools(items) : items,
    ...(nextCursor !== undefined && { nextCursor }),
    // Sessions have no word for it.
    ...(isStateless && toCacheFields(freshness)),
  };
}
