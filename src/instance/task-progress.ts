import type { JSONRPCMessage, JSONRPCRequest, RequestId } from '../sdk.js';
import { hasEnded } from './task-status.js';

type Params = NonNullable<JSONRPCRequest['params']>;
type OnProgress = (params: Params) => void;

// Tasks of which nobody hears any more are forgotten at some point.
const maxTasks = 1_000;

/** Where the progress of tasks goes: the token of a request stays good until the task that answered it has ended. */
export class TaskProgress {
  readonly #tasks = new Map<string, { readonly token: RequestId; readonly onProgress: OnProgress }>();

  /** Looks at what a server sends: whether a task begins with it or ends. */
  see(message: JSONRPCMessage, onProgress?: OnProgress): void {
    const fields = 'result' in message ? message.result : 'method' in message ? message.params : undefined;
    const task = fields?.task as { taskId?: unknown; status?: unknown } | null | undefined;
    if ('result' in message && onProgress !== undefined && typeof task?.taskId === 'string' && !hasEnded(task.status)) {
      if (this.#tasks.size >= maxTasks) {
        this.#tasks.delete(this.#tasks.keys().next().value as string);
      }
      this.#tasks.set(task.taskId, { token: message.id, onProgress });
    } else if (this.#tasks.size > 0 && hasEnded(fields?.status)) {
      this.#tasks.delete(fields?.taskId as string);
    }
  }

  of(token: RequestId): OnProgress | undefined {
    for (const task of this.#tasks.values()) {
      if (task.token === token) {
        return task.onProgress;
      }
    }
    return undefined;
  }

  clear(): void {
    this.#tasks.clear();
  }
}
