import { GatewayError } from '../../errors.js';
import { isRequest, type JSONRPCMessage, type TransportSendOptions } from '../../sdk.js';
import { HttpTransport, type HttpTransportOptions } from '../../transport/http-transport.js';
import type { Link } from './link.js';
import { Route } from './route.js';
import type { Guest, Target } from './target.js';

interface SessionOptions extends Omit<HttpTransportOptions, 'dispatcher'> {
  readonly onClosed: () => void;
  /** For messages: `service "x" in namespace "y"`. */
  readonly service: string;
}

/**
 * A session with one pod of a service.
 *
 * When the pod goes, requests that it has get the time that it gives itself; then the session is lost. What is not bound to
 * a pod, because the server keeps no sessions, goes on with another.
 */
export class ServiceSession extends HttpTransport implements Guest {
  readonly #server: string;
  readonly #service: string;
  readonly #route: Route;
  #underWay = 0;

  constructor({ onClosed, service, ...options }: SessionOptions, link: Link, target: Target) {
    const guest: { session?: ServiceSession } = {};
    const route = new Route(
      link,
      target,
      { leave: () => guest.session?.leave() },
      () => guest.session?.tie !== undefined,
    );
    super({
      ...options,
      dispatcher: route,
      onClosed: () => {
        route.end();
        onClosed();
      },
    });
    this.#server = options.server;
    this.#service = service;
    this.#route = route;
    guest.session = this;
  }

  leave(): void {
    if (this.#underWay === 0) this.#settle();
  }

  override async send(message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    if (!isRequest(message)) return super.send(message, options);
    // It might be cut off half done, where a new session does it safely.
    if (this.#isLost && this.#underWay > 0) throw this.#lossError(false, false);
    this.#underWay += 1;
    try {
      await super.send(message, options);
    } catch (error) {
      // It has found out that the pod is gone, and the session ends with it.
      const isRefused = GatewayError.is(error) && error.code === 'CONNECTION_FAILED' && error.delivered === false;
      throw isRefused && this.#isLost && this.#underWay === 1 ? this.#lossError(false) : error;
    } finally {
      this.#underWay -= 1;
      if (this.#underWay === 0) this.#settle();
    }
  }

  get #isLost(): boolean {
    return this.#route.target.gone && this.tie === 'session';
  }

  #settle(): void {
    // Over HTTP+SSE the end of the stream ends the session, and tells itself.
    if (this.#isLost) this.lose(this.#lossError('unknown'));
    else if (this.tie === undefined) this.#route.settle();
  }

  /** @param isOver - it has ended; not while others are under way */
  #lossError(delivered: false | 'unknown', isOver = true): GatewayError {
    const { name } = this.#route.target;
    const why =
      'which was deleted, replaced, restarted or is being shut down, or serves the port of the service no more';
    const message = `the session was lost with ${name} of ${this.#service}, ${why}; connect again`;
    const exit = isOver ? { reason: 'session-lost', stderrTail: '' } : undefined;
    return new GatewayError('SESSION_LOST', message, { server: this.#server, exit, delivered });
  }
}
