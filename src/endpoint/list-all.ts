import { GatewayError } from '../errors.js';
import type { Link } from '../instance/link.js';
import { ServerError } from '../instance/server-error.js';
import { isTooNested } from '../transport/nesting.js';
import { runsToolTasks, withoutOptionalTask } from '../transport/tasks.js';
import { writeCanonical } from '../util/canonical.js';
import { type Fields, isFields } from '../util/fields.js';
import { jsonLength } from '../util/json-length.js';
import { type Freshness, leastFresh, noListFreshness, readFreshness, saysFreshness } from './freshness.js';
import { type ListItem, type ListKind, listKinds } from './list-kinds.js';

// A server that pages for ever must not keep a list open for ever, nor fill the memory.
const maxPages = 1_000;
const maxMebibytes = 64;
const methodNotFound = -32601;
const invalidParams = -32602;

/** The whole list of a server. */
export interface ServerList {
  readonly items: readonly ListItem[];
  readonly freshness: Freshness;
  /** It is shown again later, perhaps to others. */
  readonly isKept?: boolean;
}

/**
 * All pages of a server's list; empty without a question when the server does not have such lists.
 *
 * @param now - the time, for who wants to know how long the list is good
 */
export async function listAll(link: Link, kind: ListKind, now = () => 0): Promise<ServerList> {
  const { server } = link;
  const { method, capability } = listKinds[kind];
  const { capabilities } = await link.open();
  if (capabilities[capability] === undefined) {
    return { items: [], freshness: noListFreshness };
  }
  const items: ListItem[] = [];
  // Clients ask for a task where a tool offers that, whenever another server of the merged peer runs tasks.
  const toShown = kind === 'tools' && !runsToolTasks(capabilities) ? withoutOptionalTask : (item: ListItem) => item;
  /** Each page until when it is good. */
  const pages: Freshness[] = [];
  const seen = new Set<unknown>([undefined]);
  const isTooLarge = sumPages();
  let cursor: unknown;
  let first: unknown;
  let last: Fields = {};
  for (let page = 0; page < maxPages; page += 1) {
    const result = await link.ask(method, cursor === undefined ? undefined : { cursor }).catch((error: unknown) => {
      const code = error instanceof ServerError ? error.error.code : undefined;
      // A server with resources need not know of templates, and an empty text is no cursor to every server that writes it.
      if (code === methodNotFound || (code === invalidParams && cursor === '')) {
        // What the pages before said of themselves holds.
        return { ...last, [kind]: [], nextCursor: undefined };
      }
      throw error;
    });
    last = result;
    const answered: unknown = result[kind];
    first ??= answered;
    // To some servers an empty text that they have written asks for the first page.
    const part = cursor === '' && canonical(answered) === canonical(first) ? [] : answered;
    // Another server may have answered than the one that was to.
    const { ttlMs, isPublic } = readFreshness(kind, result, link.handshake?.capabilities ?? capabilities);
    pages.push({ ttlMs: now() + ttlMs, isPublic });
    if (!Array.isArray(part)) {
      throw new GatewayError('MESSAGE_INVALID', `the answer to ${method} has no array "${kind}"`, { server });
    }
    if (isTooLarge(part)) {
      throw new GatewayError('LIMIT_REACHED', `${method} has more than ${maxMebibytes} MiB`, { server });
    }
    // One at a time: a page may hold more items than a call can have arguments.
    for (const item of part) {
      isItem(item) && items.push(toShown(item));
    }
    cursor = nextCursorOf(result);
    if (seen.has(cursor)) {
      const { ttlMs: until, isPublic: isAll } = leastFresh(pages);
      return { items, freshness: { ttlMs: Math.max(0, until - now()), isPublic: isAll } };
    }
    seen.add(cursor);
  }
  throw new GatewayError('LIMIT_REACHED', `${method} has more than ${maxPages} pages`, { server });
}

/** All pages of a server's tasks. */
export async function listTasks(link: Link): Promise<ListItem[]> {
  const items: ListItem[] = [];
  const seen = new Set<unknown>([undefined]);
  const isTooLarge = sumPages();
  let cursor: unknown;
  do {
    seen.add(cursor);
    const result = await link.ask('tasks/list', cursor === undefined ? undefined : { cursor });
    const { tasks } = result;
    if (isTooLarge(tasks)) {
      break;
    }
    for (const task of Array.isArray(tasks) ? tasks : []) {
      isItem(task) && typeof task.taskId === 'string' && items.push(task);
    }
    cursor = nextCursorOf(result);
  } while (!seen.has(cursor) && seen.size < maxPages);
  return items;
}

/** For one that is nested too deeply nobody could be sent the list of all servers. */
function isItem(item: unknown): item is ListItem {
  return isFields(item) && !isTooNested(item);
}

/**
 * Undefined where no page follows. That is how servers with sessions mean an empty text, which they would answer with the first
 * page again; stateless ones may call a page so.
 */
function nextCursorOf(result: Fields): unknown {
  const { nextCursor } = result;
  return nextCursor === null || (nextCursor === '' && !saysFreshness(result)) ? undefined : nextCursor;
}

function canonical(part: unknown): string {
  let text = '';
  writeCanonical(part, (piece) => {
    text += piece;
  });
  return text;
}

/** Tells of each page whether the list is too large with it. The first one is a message like any other, and not counted. */
function sumPages(): (part: unknown) => boolean {
  let isFirst = true;
  let sum = 0;
  return (part) => {
    sum += isFirst ? 0 : jsonLength(part);
    isFirst = false;
    return sum > maxMebibytes * 1024 * 1024;
  };
}
