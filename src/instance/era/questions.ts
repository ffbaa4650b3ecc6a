import { isResponse, type JSONRPCMessage, type JSONRPCRequest, type RequestId } from '../../sdk.js';
import type { Response } from '../exchanges.js';
import type { SendOutcome } from '../strict-transport.js';

/** What a connection asks its server on its own account, or before anybody else may. */
export class Questions {
  readonly #send: (request: JSONRPCRequest, onOutcome: SendOutcome) => void;
  readonly #awaited = new Map<RequestId, (answer: Response | undefined) => void>();

  constructor(send: (request: JSONRPCRequest, onOutcome: SendOutcome) => void) {
    this.#send = send;
  }

  /** Undefined when no answer will come. Rejects when the server cannot be asked. */
  ask(request: JSONRPCRequest): Promise<Response | undefined> {
    return new Promise((resolve, reject) => {
      this.#awaited.set(request.id, resolve);
      this.#send(request, (error) => error && reject(error));
    });
  }

  /** Whether a message is an answer that was waited for. */
  take(message: JSONRPCMessage): boolean {
    const resolve = isResponse(message) ? this.#awaited.get(message.id as RequestId) : undefined;
    if (resolve === undefined) {
      return false;
    }
    const answer = message as Response;
    this.#awaited.delete(answer.id as RequestId);
    resolve(answer);
    return true;
  }

  /** Nobody waits any more. @returns what has not been answered */
  giveUp(): RequestId[] {
    const ids = [...this.#awaited.keys()];
    for (const resolve of this.#awaited.values()) {
      resolve(undefined);
    }
    this.#awaited.clear();
    return ids;
  }
}
