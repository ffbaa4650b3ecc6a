import type { Response } from '../../instance/exchanges.js';
import type { JSONRPCMessage, JSONRPCRequest, RequestId } from '../../sdk.js';
import { isRequestId } from '../../transport/json-rpc.js';
import type { CallerSession } from './caller-sessions.js';

/** Where what belongs to one request of the caller goes: notifications, then the one answer. */
export type Reply = (message: JSONRPCMessage) => void;

/** A request of the caller that a server works on; it may go on over several rounds of input. */
export class ModernCall {
  /** The id under which the session knows it, in every round. */
  readonly id: RequestId;
  readonly session: CallerSession;
  /** As the caller sent it last. */
  request: JSONRPCRequest;
  /** Undefined between two rounds. */
  reply: Reply | undefined;
  logLevel: string | undefined;
  /** It was sent as a task, to be answered with one. */
  isTask = false;
  round = 0;
  /** What the caller was asked in this round and has not answered. */
  readonly questions = new Map<string, JSONRPCRequest>();
  /** What it is to be asked in the next. */
  readonly queue: JSONRPCRequest[] = [];
  /** Came between two rounds. */
  response: Response | undefined;
  /** Whose answer that is. */
  server: string | undefined;
  timer: unknown;

  constructor(id: RequestId, session: CallerSession, request: JSONRPCRequest, reply: Reply) {
    this.id = id;
    this.session = session;
    this.request = request;
    this.reply = reply;
  }

  /** Undefined where what the caller has sent is none, such as null. */
  get progressToken(): RequestId | undefined {
    const token = this.request.params?._meta?.progressToken;
    return isRequestId(token) ? token : undefined;
  }

  /** Answers the round that is open. */
  answer(response: Response): void {
    const { reply } = this;
    this.reply = undefined;
    reply?.({ ...response, id: this.request.id });
  }
}
