import type { Dispatcher } from 'undici';

/** How often a server may say that the answer is yet to come (status 1xx). */
const mostHints = 100;

/** A request, ready to be put on a connection. */
export interface HttpRequest {
  readonly url: URL;
  readonly method: 'GET' | 'POST' | 'DELETE' | 'OPTIONS';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
  /** How long the server may take to answer with headers; 0 leaves that to the deadline of the request. */
  readonly headersTimeoutMs: number;
}

/** Who reads a body. Nothing follows `end` or `fail`; none of them may throw. */
export interface BodySink {
  data(chunk: Buffer): void;
  end(): void;
  fail(cause: Error): void;
}

/** An answer whose headers have come. */
export interface HttpAnswer {
  readonly status: number;
  /** One header, several of that name joined; undefined when it is missing. */
  header(name: string): string | undefined;
  /** Hands the body to `sink`; once. */
  read(sink: BodySink): void;
  pause(): void;
  resume(): void;
  /** Ends the connection, unless the body has come to its end; the sink is told that it failed. */
  abort(): void;
}

/** Why no answer came, and whether the server may have seen the request. */
export class CallFailure extends Error {
  readonly delivered: false | 'unknown';

  constructor(cause: Error, delivered: false | 'unknown') {
    super(cause.message, { cause });
    this.name = 'CallFailure';
    this.delivered = delivered;
  }
}

/**
 * One HTTP request and its answer.
 *
 * Sits directly on undici's dispatcher: that tells whether a request has begun to leave, which is what makes sending it
 * again safe or not, and lets an aborted request go without a signal that many would listen to.
 */
export class HttpCall implements HttpAnswer, Dispatcher.DispatchHandler {
  readonly answer: Promise<HttpAnswer>;
  status = 0;
  #headers: Record<string, string | string[] | undefined> = {};
  #controller: Dispatcher.DispatchController | undefined;
  #sink: BodySink | undefined;
  #early: Buffer[] = [];
  /** How the body ended before somebody read it. */
  #outcome: Error | 'end' | undefined;
  #aborted = false;
  #hints = 0;
  #settle: PromiseWithResolvers<HttpAnswer>;

  constructor(dispatcher: Pick<Dispatcher, 'dispatch'>, { url, method, headers, body, headersTimeoutMs }: HttpRequest) {
    this.#settle = Promise.withResolvers();
    this.answer = this.#settle.promise;
    const path = url.pathname + url.search;
    // 0 is no limit, which undici does not take Infinity for. A stream may be silent for as long as it likes.
    const limits = { headersTimeout: Number.isFinite(headersTimeoutMs) ? headersTimeoutMs : 0, bodyTimeout: 0 };
    try {
      dispatcher.dispatch({ origin: url.origin, path, method, headers, body: body ?? null, ...limits }, this);
    } catch (error) {
      this.#settle.reject(new CallFailure(error as Error, false));
    }
  }

  /** It has begun to leave. */
  get begun(): boolean {
    return this.#controller !== undefined;
  }

  header(name: string): string | undefined {
    const value = this.#headers[name];
    return Array.isArray(value) ? value.join(', ') : value;
  }

  read(sink: BodySink): void {
    this.#sink = sink;
    for (const chunk of this.#early.splice(0)) {
      if (this.#sink !== undefined) sink.data(chunk);
    }
    if (this.#sink !== undefined && this.#outcome !== undefined) this.#end(this.#outcome);
  }

  pause(): void {
    this.#controller?.pause();
  }

  resume(): void {
    this.#controller?.resume();
  }

  abort(): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#early = [];
    const reason = new Error('the request was aborted');
    if (this.#outcome === undefined) this.#controller?.abort(reason);
    this.#settle.reject(new CallFailure(reason, this.#controller === undefined ? false : 'unknown'));
    // Nobody may be waiting any more.
    this.answer.catch(() => {});
    this.#end(reason);
  }

  /** @internal */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#aborted) {
      controller.abort(new Error('the request was aborted before it left'));
      return;
    }
    this.#controller = controller;
  }

  /** @internal */
  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    if (status < 200) {
      this.#hints += 1;
      if (this.#hints > mostHints)
        controller.abort(new Error(`the server sent ${mostHints} answers of status ${status}`));
      return;
    }
    this.status = status;
    this.#headers = headers;
    this.#settle.resolve(this);
  }

  /** @internal */
  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#aborted) return;
    if (this.#sink === undefined) this.#early.push(chunk);
    else this.#sink.data(chunk);
  }

  /** @internal */
  onResponseEnd(): void {
    this.#end('end');
  }

  /** @internal */
  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.status === 0) {
      this.#outcome = error;
      // A connection may know that it led nowhere, though bytes were put on it.
      const nowhere = (error as { readonly delivered?: unknown }).delivered === false;
      this.#settle.reject(new CallFailure(error, this.#controller === undefined || nowhere ? false : 'unknown'));
    } else {
      this.#end(error);
    }
  }

  #end(outcome: Error | 'end'): void {
    this.#outcome ??= outcome;
    const sink = this.#sink;
    if (sink === undefined) return;
    this.#sink = undefined;
    if (this.#outcome === 'end') sink.end();
    else sink.fail(this.#outcome);
  }
}
