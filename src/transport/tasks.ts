import { type Fields, isFields } from '../util/fields.js';

/** The extension of revision 2026-07-28 that took the place of the tasks of 2025-11-25. */
export const tasksExtension = 'io.modelcontextprotocol/tasks';

/** Key of `_meta` by which messages of 2025-11-25 say which task they belong to. */
export const relatedTask = 'io.modelcontextprotocol/related-task';

/** Whether capabilities of a client or server of 2026-07-28 have tasks. */
export function hasTasksExtension(capabilities: Fields): boolean {
  return isFields(capabilities.extensions) && capabilities.extensions[tasksExtension] !== undefined;
}

/** Capabilities of either side, without tasks of either era. */
export function withoutTasks(capabilities: Fields): Record<string, unknown> {
  const { tasks: _, ...rest } = capabilities;
  if (!isFields(rest.extensions)) {
    return rest;
  }
  const { [tasksExtension]: __, ...extensions } = rest.extensions;
  return { ...rest, extensions };
}

/** Whether a server of 2025-11-25 runs tools as tasks. */
export function runsToolTasks({ tasks }: Fields): boolean {
  const requests = isFields(tasks) && isFields(tasks.requests) ? tasks.requests : {};
  return isFields(requests.tools) && requests.tools.call !== undefined;
}

/** A tool without the offer to run as a task; that it runs as nothing else stays. */
export function withoutOptionalTask(tool: Fields): Fields {
  const { execution } = tool;
  if (!isFields(execution) || execution.taskSupport !== 'optional') {
    return tool;
  }
  const { taskSupport: _, ...rest } = execution;
  return { ...tool, execution: rest };
}

const common = ['taskId', 'status', 'statusMessage', 'createdAt', 'lastUpdatedAt'] as const;

function pick(task: Fields): Record<string, unknown> {
  return Object.fromEntries(common.filter((key) => task[key] !== undefined).map((key) => [key, task[key]]));
}

/** A task as 2025-11-25 writes it, from one of 2026-07-28. */
export function toLegacyTask(task: Fields): Record<string, unknown> {
  const { ttlMs = null, pollIntervalMs } = task;
  return { ...pick(task), ttl: ttlMs, ...(pollIntervalMs !== undefined && { pollInterval: pollIntervalMs }) };
}

/** A task as 2026-07-28 writes it, from one of 2025-11-25. */
export function toModernTask(task: Fields): Record<string, unknown> {
  const { ttl = null, pollInterval } = task;
  return { ...pick(task), ttlMs: ttl, ...(pollInterval !== undefined && { pollIntervalMs: pollInterval }) };
}

/** A result without the mark of its task; with one when `taskId` is given. */
export function withRelatedTask(result: Fields, taskId?: unknown): Record<string, unknown> {
  const { _meta, ...rest } = result;
  const { [relatedTask]: _, ...meta } = isFields(_meta) ? _meta : {};
  const own = taskId === undefined ? meta : { ...meta, [relatedTask]: { taskId } };
  return Object.keys(own).length === 0 ? rest : { ...rest, _meta: own };
}

/** What a result says of itself that tells of a task, in either era. */
export function metaOfTask(result: Fields): { readonly _meta?: Record<string, unknown> } {
  const { _meta } = withRelatedTask(result);
  return isFields(_meta) ? { _meta } : {};
}
