import {
  context,
  type Meter,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import {
  createGateway,
  type Gateway,
  type GatewayCatalog,
  type GatewayEvent,
  type Interceptor,
  type Phase,
  ServerError,
} from 'open-mcp-gateway';

// #region events
/** Counts starts and failures, and measures how long starts take. For `onEvent`, or for the diagnostics channel. */
export function eventMetrics(meter: Meter): (event: GatewayEvent) => void {
  const starts = meter.createCounter('mcp.server.starts');
  const failures = meter.createCounter('mcp.server.failures');
  const startDuration = meter.createHistogram('mcp.server.start.duration', { unit: 's' });
  const troubles = meter.createCounter('mcp.server.troubles');
  const startedAt = new Map<string, number>();
  return (event) => {
    const { server } = event;
    if (event.type === 'trouble') {
      troubles.add(1, { server, 'error.type': event.code });
    } else if (event.type === 'phase') {
      const { instance, from, to, at, reason } = event;
      const began = startedAt.get(instance);
      if (from === 'idle') {
        starts.add(1, { server });
        startedAt.set(instance, at);
      } else if (to === 'ready' && began !== undefined) {
        startDuration.record((at - began) / 1_000, { server });
      } else if (to === 'failed' || to === 'crash-loop') {
        failures.add(1, { server, 'error.type': reason?.code ?? 'UNKNOWN' });
      }
      if (to === 'ready' || to === 'idle' || to === 'failed' || to === 'crash-loop') {
        startedAt.delete(instance);
      }
    }
  };
}
// #endregion events

// #region status
const phases: readonly Phase[] = ['idle', 'pulling', 'starting', 'ready', 'stopping', 'failed', 'crash-loop'];

/** Shows the phase, the requests in flight and the restarts of each server, whenever somebody reads the metrics. */
export function statusMetrics(meter: Meter, gateway: Gateway): void {
  const phase = meter.createObservableGauge('mcp.server.phase');
  const inFlight = meter.createObservableGauge('mcp.server.in_flight');
  const restarts = meter.createObservableCounter('mcp.server.restarts');
  meter.addBatchObservableCallback(
    (result) => {
      for (const status of gateway.status()) {
        const { id: server } = status;
        for (const name of phases) {
          result.observe(phase, name === status.phase ? 1 : 0, { server, phase: name });
        }
        result.observe(inFlight, status.inFlight, { server });
        result.observe(restarts, status.restarts, { server });
      }
    },
    [phase, inFlight, restarts],
  );
}
// #endregion status

// #region spans
/** Puts a span and a duration around each request; the caller's trace goes on in the server. */
export function requestTelemetry(meter: Meter, tracer: Tracer): Interceptor {
  const duration = meter.createHistogram('mcp.client.operation.duration', { unit: 's' });
  return async ({ server, method, params }, next) => {
    const name = typeof params.name === 'string' ? params.name : undefined;
    const attributes = { server, 'mcp.method.name': method, ...(name !== undefined && { 'gen_ai.tool.name': name }) };
    // The caller's `traceparent` is in `_meta`, and so is ours for the server.
    const parent = propagation.extract(context.active(), params._meta ?? {});
    const span = tracer.startSpan(`${method} ${name ?? server}`, { kind: SpanKind.CLIENT, attributes }, parent);
    const meta = { ...(params._meta as object | undefined) };
    propagation.inject(trace.setSpan(parent, span), meta);
    const start = performance.now();
    let error: string | undefined;
    try {
      const result = await next({ ...params, _meta: meta });
      error = result.isError === true ? 'tool_error' : undefined;
      return result;
    } catch (thrown) {
      error = errorType(thrown);
      throw thrown;
    } finally {
      const outcome = error === undefined ? {} : { 'error.type': error };
      duration.record((performance.now() - start) / 1_000, { ...attributes, ...outcome });
      end(span, error);
    }
  };
}

/** The code of this library, such as `SERVER_EXITED`, or the number that the server gave its error. */
function errorType(thrown: unknown): string {
  if (thrown instanceof ServerError) {
    const { code, data } = thrown.error;
    return String((data as { code?: unknown } | undefined)?.code ?? code);
  }
  return thrown instanceof Error ? thrown.name : 'UNKNOWN';
}

function end(span: Span, error: string | undefined): void {
  if (error !== undefined) {
    span.setAttribute('error.type', error);
    span.setStatus({ code: SpanStatusCode.ERROR });
  }
  span.end();
}
// #endregion spans

// #region gateway
/** A gateway that tells OpenTelemetry what it does. */
export function createObservedGateway(catalog: GatewayCatalog, meter: Meter, tracer: Tracer): Gateway {
  const gateway = createGateway(catalog, {
    onEvent: eventMetrics(meter),
    intercept: requestTelemetry(meter, tracer),
  });
  statusMetrics(meter, gateway);
  return gateway;
}
// #endregion gateway
