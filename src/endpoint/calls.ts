import type { GatewayError } from '../errors.js';
import { toErrorResponse } from '../instance/error-response.js';
import type { Response } from '../instance/exchanges.js';
import type { JSONRPCRequest, RequestId } from '../sdk.js';
import type { JsonPart } from '../transport/json-part.js';
import { isRequestId } from '../transport/json-rpc.js';
import { copyError } from '../util/copy-error.js';
import { callerCancelled, callerLeft } from './intercept.js';
import { type Call, OpenCall } from './open-call.js';
import type { SendToCaller } from './peer.js';

type Params = NonNullable<JSONRPCRequest['params']>;

/** The open requests of one caller: each is answered once, and never after it was cancelled. */
export class Calls {
  readonly #open = new Map<RequestId, Call>();
  readonly #send: SendToCaller;
  #progressSteps = 0;

  constructor(send: SendToCaller) {
    this.#send = send;
  }

  get size(): number {
    return this.#open.size;
  }

  has(id: RequestId): boolean {
    return this.#open.has(id);
  }

  /** The server that an open call is for, once that is known. */
  serverOf(id: RequestId): string | undefined {
    return this.#open.get(id)?.server;
  }

  open(request: JSONRPCRequest, server?: string): OpenCall {
    const call = new OpenCall(request, server);
    this.add(call);
    return call;
  }

  add(call: Call): void {
    this.#open.set(call.id, call);
  }

  waits(call: Call): boolean {
    return this.#open.get(call.id) === call;
  }

  /** Answers a call, if it still waits. */
  finish(call: Call, response: Response, part?: JsonPart): void {
    if (this.take(call)) {
      this.#send({ ...response, id: call.id }, { related: call.id, server: call.server, part });
    }
  }

  /** Takes a call out unanswered; false when it no longer waits. */
  take(call: Call): boolean {
    return this.waits(call) && this.#open.delete(call.id);
  }

  /** Answers a request that was never opened. */
  answer(request: JSONRPCRequest, result: Record<string, unknown>): void {
    this.#send({ jsonrpc: '2.0', id: request.id, result }, { related: request.id });
  }

  /** Answers a request that was never opened with an error. */
  refuse(request: JSONRPCRequest, code: number, message: string, data?: unknown): void {
    this.#send(
      { jsonrpc: '2.0', id: request.id, error: { code, message, ...(data !== undefined && { data }) } },
      { related: request.id },
    );
  }

  /** The caller no longer waits for a request. */
  cancel(params: Params | undefined): void {
    const call = this.#open.get(params?.requestId as RequestId);
    if (call !== undefined) {
      this.#open.delete(call.id);
      call.cancel(params);
      call.abandon?.(callerCancelled(call.server));
    }
  }

  /** Passes on what a server says of the progress of a call. */
  progress(call: Call, params: Params): void {
    call.hasProgress = true;
    this.#tell(call, params);
  }

  /** Tells who waits for the start of a server how far it is. */
  starting(server: string, message: string): void {
    for (const call of this.#open.values()) {
      // One that is under way may be at the server before, which ends, or at another instance.
      if (call.server === server && call.hasProgress !== true) {
        // Always more than before, and below all that a server would send.
        this.#progressSteps += 1;
        this.#tell(call, { progress: -1 / this.#progressSteps, message });
      }
    }
  }

  /** Answers all with an error of ours. What became of them at a server, if they got so far, is not known here. */
  failAll(error: GatewayError): void {
    for (const call of [...this.#open.values()]) {
      const named = copyError(error, { server: error.server ?? call.server });
      this.finish(call, toErrorResponse(call.id, named, 'unknown'));
      call.abandon?.(named);
    }
  }

  /** The catalog is another one now. */
  reloaded(servers: ReadonlyMap<string, unknown>): void {
    for (const call of [...this.#open.values()]) {
      call.reloaded?.(servers);
    }
  }

  /** The caller has left. */
  clear(): void {
    const left = [...this.#open.values()];
    this.#open.clear();
    for (const call of left) {
      call.abandon?.(callerLeft(call.server));
    }
  }

  #tell({ id, progressToken }: Call, params: Params): void {
    if (isRequestId(progressToken)) {
      this.#send(
        { jsonrpc: '2.0', method: 'notifications/progress', params: { ...params, progressToken } },
        { related: id },
      );
    }
  }
}
