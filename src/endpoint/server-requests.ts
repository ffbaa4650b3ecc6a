import { errorNumbers } from '../errors.js';
import { isDeclared } from '../instance/declared.js';
import type { Link } from '../instance/link.js';
import { mostServerRequests } from '../instance/shared-server-requests.js';
import { hasEnded } from '../instance/task-status.js';
import type {
  JSONRPCErrorResponse,
  JSONRPCNotification,
  JSONRPCRequest,
  JSONRPCResultResponse,
  RequestId,
} from '../sdk.js';
import { findNamed } from '../transport/json-rpc.js';
import { withoutNulls } from '../util/without-nulls.js';
import { BoundedMap } from './bounded-map.js';
import { type CallerHandshake, problemOfQuestion } from './legacy-initialize.js';
import type { SendToCaller } from './peer.js';

type Params = NonNullable<JSONRPCRequest['params']>;

interface OpenRequest {
  readonly link: Link;
  /** By which the server knows it. */
  readonly id: RequestId;
  /** By which the caller does. */
  readonly callersId: RequestId;
  readonly progressToken: RequestId | undefined;
}

const maxTasks = 10_000;
const unsaid = { code: -32603, message: 'the client does not say what failed' };

/**
 * The requests of servers to one caller: sampling, elicitation, roots. Gives each an id and a progress token that no other
 * server of the caller uses, and leads the answer back to the server that asked.
 */
export class ServerRequests {
  readonly #send: SendToCaller;
  readonly #open = new Map<RequestId, OpenRequest>();
  // Tasks that the caller runs for a server: no other server may ask for them.
  readonly #tasks = new BoundedMap<string, OpenRequest>(maxTasks);
  // Progress goes on until such a task ends.
  readonly #ofTasks = new BoundedMap<RequestId, OpenRequest>(maxTasks);
  #nextId = 1;

  constructor(send: SendToCaller) {
    this.#send = send;
  }

  /** Whether the caller still owes this server an answer. */
  isWaiting(server: string): boolean {
    for (const { link } of this.#open.values()) {
      if (link.server === server) {
        return true;
      }
    }
    return false;
  }

  /** @param callerId - the caller's request that it belongs to, when that is known */
  receive(
    link: Link,
    request: JSONRPCRequest,
    caller: CallerHandshake | undefined,
    callerId: RequestId | undefined,
  ): void {
    const refuse = (code: number, message: string) =>
      link.notify({ jsonrpc: '2.0', id: request.id, error: { code, message } });
    const { taskId } = (request.params ?? {}) as { taskId?: unknown };
    if (!isDeclared(caller?.capabilities, request.method)) {
      refuse(-32601, `the client has not declared a capability for ${request.method}`);
      return;
    }
    const foreignTask = typeof taskId === 'string' && this.#tasks.get(taskId)?.link !== link;
    if (request.method === 'tasks/list' || (request.method.startsWith('tasks/') && foreignTask)) {
      refuse(-32602, 'the client runs no such task for this server');
      return;
    }
    const problem = problemOfQuestion(caller?.capabilities, request);
    if (problem !== undefined) {
      refuse(-32602, problem);
      return;
    }
    if (this.#open.size >= mostServerRequests) {
      refuse(errorNumbers.LIMIT_REACHED, `${mostServerRequests} requests wait for the client already`);
      return;
    }
    const id = this.#nextId++;
    const meta = request.params?._meta;
    const progressToken = meta?.progressToken;
    this.#open.set(id, { link, id: request.id, callersId: id, progressToken });
    const params =
      progressToken === undefined ? request.params : { ...request.params, _meta: { ...meta, progressToken: id } };
    this.#send(
      { ...request, id, ...(params && { params }) },
      { related: callerId ?? link.latestCallerId, server: link.server, isGuess: callerId === undefined },
    );
  }

  /**
   * Leads an answer of the caller back; one that nobody waits for goes nowhere.
   *
   * @param restore - gives a result the names that its server knows
   */
  answer(
    response: JSONRPCResultResponse | JSONRPCErrorResponse,
    restore: (server: string, result: JSONRPCResultResponse['result']) => JSONRPCResultResponse['result'],
  ): void {
    // All of ours are numbers, which a client may write as texts.
    const open = findNamed(this.#open, response.id);
    if (open === undefined) {
      return;
    }
    const { callersId } = open;
    this.#open.delete(callersId);
    // Servers of the SDK drop an answer with an error that is not whole, or with null for `_meta`.
    if (!('result' in response)) {
      const error = { ...unsaid, ...withoutNulls(response.error, 1) };
      open.link.notify({ ...response, id: open.id, error });
      return;
    }
    const result = { ...response.result, _meta: response.result._meta ?? undefined };
    const task = response.result.task as { taskId?: unknown } | undefined;
    if (typeof task?.taskId === 'string') {
      this.#tasks.set(task.taskId, open);
      this.#ofTasks.set(callersId, open);
    }
    open.link.notify({ ...response, id: open.id, result: restore(open.link.server, result) });
  }

  /** Leads what the caller says of a task to the server that it runs for. */
  taskChanged(message: JSONRPCNotification): void {
    const open = this.#tasks.get(message.params?.taskId as string);
    open?.link.notify(message);
    if (open !== undefined && hasEnded(message.params?.status)) {
      this.#ofTasks.delete(open.callersId);
    }
  }

  /** Leads progress of the caller back to the server that asked for it. */
  progress(params: Params | undefined): void {
    const token = params?.progressToken;
    const open = findNamed(this.#open, token) ?? findNamed(this.#ofTasks, token);
    if (open?.progressToken !== undefined) {
      open.link.notify({
        jsonrpc: '2.0',
        method: 'notifications/progress',
        params: { ...params, progressToken: open.progressToken },
      });
    }
  }

  /** A server no longer waits for an answer. */
  cancel(link: Link, params: Params | undefined): void {
    for (const [id, open] of this.#open) {
      if (open.link === link && open.id === params?.requestId) {
        this.#open.delete(id);
        this.#cancel(id, params);
        return;
      }
    }
  }

  /** The server of a link has ended: nobody waits for its answers any more. */
  end(link: Link): void {
    this.#tasks.deleteWhere((open) => open.link === link);
    this.#ofTasks.deleteWhere((open) => open.link === link);
    for (const [id, open] of this.#open) {
      if (open.link === link) {
        this.#open.delete(id);
        this.#cancel(id, { reason: `the server "${link.server}" has ended` });
      }
    }
  }

  #cancel(id: RequestId, params: Params): void {
    this.#send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { ...params, requestId: id } });
  }
}
