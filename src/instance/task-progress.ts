import type { JSONRPCMessage, JSONRPCRequest, RequestId } from '../sdk.js';
import { relatedTask } from '../transport/tasks.js';
import { type Fields, isFields } from '../util/fields.js';
import { hasEnded } from './task-status.js';

export type OnProgress = (params: NonNullable<JSONRPCRequest['params']>) => void;

/** Who hears of the progress of what it has asked for. */
export interface ProgressListener {
  /** Outlives the request where a task comes of it: should hold no more of that than its token. */
  readonly onProgress?: OnProgress | undefined;
}

// Tasks of which nobody hears any more are forgotten at some point.
const maxTasks = 1_000;

/** Where the progress of tasks goes: the token of a request stays good until the task that answered it has ended. */
export class TaskProgress {
  // Made for the first of them: most servers have none.
  #tasks: Map<string, { readonly token: RequestId; readonly onProgress: OnProgress }> | undefined;

  /** Looks at what a server sends: whether a task begins with it or ends. */
  see(message: JSONRPCMessage, listener?: ProgressListener): void {
    const fields = 'result' in message ? message.result : 'method' in message ? message.params : undefined;
    const task = fields?.task as { taskId?: unknown; status?: unknown } | null | undefined;
    if (
      'result' in message &&
      listener?.onProgress !== undefined &&
      typeof task?.taskId === 'string' &&
      !hasEnded(task.status)
    ) {
      this.#tasks ??= new Map();
      if (this.#tasks.size >= maxTasks) {
        this.#tasks.delete(this.#tasks.keys().next().value as string);
      }
      this.#tasks.set(task.taskId, { token: message.id, onProgress: listener.onProgress });
    } else if (this.#tasks !== undefined && fields !== undefined) {
      const { status, taskId, _meta: meta } = fields as Fields;
      // The result of one says of which it is, and no status.
      const related = 'result' in message && status === undefined && isFields(meta) && meta[relatedTask];
      this.#tasks.delete((hasEnded(status) ? taskId : isFields(related) && related.taskId) as string);
    }
  }

  of(token: RequestId): OnProgress | undefined {
    for (const task of this.#tasks?.values() ?? []) {
      if (task.token === token) {
        return task.onProgress;
      }
    }
    return undefined;
  }

  clear(): void {
    this.#tasks = undefined;
  }
}
