import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { propagation } from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { type DataPoint, type Histogram, MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics';
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createObservedGateway, eventMetrics } from '../../docs/examples/observability/opentelemetry.js';
import { createGateway, GatewayError, type GatewayEvent } from '../../src/index.js';

const traceId = '0af7651916cd43dd8448eb211c80319c';
const parentId = 'b7ad6b7169203331';
const traceparent = `00-${traceId}-${parentId}-01`;

class TestReader extends MetricReader {
  protected override async onForceFlush() {}
  protected override async onShutdown() {}
}

/** Providers of a host, kept in memory. */
function createTelemetry() {
  const reader = new TestReader();
  const meters = new MeterProvider({ readers: [reader] });
  const exporter = new InMemorySpanExporter();
  const tracers = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] });
  return {
    meter: meters.getMeter('test'),
    tracer: tracers.getTracer('test'),
    spans: () => exporter.getFinishedSpans(),
    /** The points of a metric, with their attributes. */
    async points(name: string): Promise<readonly DataPoint<unknown>[]> {
      const { resourceMetrics } = await reader.collect();
      const all = resourceMetrics.scopeMetrics.flatMap(({ metrics }) => metrics);
      return all.find(({ descriptor }) => descriptor.name === name)?.dataPoints ?? [];
    },
    async [Symbol.asyncDispose]() {
      await meters.shutdown();
      await tracers.shutdown();
    },
  };
}

/** A server that remembers the `_meta` of its calls; `slow` waits until `release` is called. */
function createShop() {
  const metas: Record<string, unknown>[] = [];
  const released = Promise.withResolvers<void>();
  const called = Promise.withResolvers<void>();
  const create = () => {
    const server = new McpServer({ name: 'shop', version: '1' });
    server.registerTool('buy', {}, ({ _meta }) => {
      metas.push({ ..._meta });
      return { content: [] };
    });
    server.registerTool('fail', {}, () => ({ isError: true, content: [] }));
    server.registerTool('slow', {}, async () => {
      called.resolve();
      await released.promise;
      return { content: [] };
    });
    return server;
  };
  return { metas, create, called: called.promise, release: released.resolve };
}

async function connect(gateway: ReturnType<typeof createGateway>) {
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(gateway.connect());
  return client;
}

beforeAll(() => {
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
});
afterAll(() => {
  propagation.disable();
});

test('the trace of a caller goes through a span of the gateway to the server', async () => {
  await using telemetry = createTelemetry();
  const shop = createShop();
  const catalog = { servers: [{ id: 'shop', runtime: { type: 'in-process', server: shop.create } }] } as const;
  await using gateway = createObservedGateway(catalog, telemetry.meter, telemetry.tracer);
  const client = await connect(gateway);
  const _meta = { traceparent, tracestate: 'vendor=1', 'com.example/own': 'kept' };
  await client.callTool({ name: 'shop__buy', _meta });

  const [span] = telemetry.spans().filter(({ name }) => name === 'tools/call buy');
  expect(span?.spanContext().traceId).toBe(traceId);
  expect(span?.parentSpanContext?.spanId).toBe(parentId);
  expect(span?.attributes).toEqual({ server: 'shop', 'mcp.method.name': 'tools/call', 'gen_ai.tool.name': 'buy' });
  expect(shop.metas).toEqual([
    expect.objectContaining({
      traceparent: `00-${traceId}-${span?.spanContext().spanId}-01`,
      tracestate: 'vendor=1',
      'com.example/own': 'kept',
    }),
  ]);
});

test('without an interceptor the trace context passes as it came', async () => {
  const shop = createShop();
  await using gateway = createGateway({
    servers: [{ id: 'shop', runtime: { type: 'in-process', server: shop.create } }],
  });
  const client = await connect(gateway);
  await client.callTool({ name: 'shop__buy', _meta: { traceparent, tracestate: 'vendor=1' } });
  expect(shop.metas).toEqual([expect.objectContaining({ traceparent, tracestate: 'vendor=1' })]);
});

test('requests have a duration by server, method, tool and outcome', async () => {
  await using telemetry = createTelemetry();
  const shop = createShop();
  const catalog = { servers: [{ id: 'shop', runtime: { type: 'in-process', server: shop.create } }] } as const;
  await using gateway = createObservedGateway(catalog, telemetry.meter, telemetry.tracer);
  const client = await connect(gateway);
  await client.callTool({ name: 'shop__buy' });
  await client.callTool({ name: 'shop__buy' });
  await client.callTool({ name: 'shop__fail' });
  const points = await telemetry.points('mcp.client.operation.duration');
  const calls = points.filter(({ attributes }) => attributes['mcp.method.name'] === 'tools/call');
  expect(
    calls.map(({ attributes, value }) => [
      attributes['gen_ai.tool.name'],
      attributes['error.type'],
      (value as Histogram).count,
    ]),
  ).toEqual([
    ['buy', undefined, 2],
    ['fail', 'tool_error', 1],
  ]);
  const failed = telemetry.spans().find(({ name }) => name === 'tools/call fail');
  expect(failed?.status.code).toBe(2);
});

test('starts, failures and restarts are counted, and how long a start takes', async () => {
  await using telemetry = createTelemetry();
  let starts = 0;
  const create = () => {
    starts += 1;
    if (starts === 1) {
      throw new GatewayError('START_FAILED', 'out of order');
    }
    return createShop().create();
  };
  const restart = { backoff: '1ms' };
  const catalog = { servers: [{ id: 'shop', restart, runtime: { type: 'in-process', server: create } }] } as const;
  await using gateway = createObservedGateway(catalog, telemetry.meter, telemetry.tracer);
  const client = await connect(gateway);
  await expect(client.callTool({ name: 'shop__buy' })).rejects.toThrow('out of order');
  await client.callTool({ name: 'shop__buy' });

  const count = async (name: string) =>
    (await telemetry.points(name)).map(({ attributes, value }) => [attributes, value]);
  expect(await count('mcp.server.starts')).toEqual([[{ server: 'shop' }, 2]]);
  expect(await count('mcp.server.failures')).toEqual([[{ server: 'shop', 'error.type': 'START_FAILED' }, 1]]);
  expect(await count('mcp.server.restarts')).toEqual([[{ server: 'shop' }, 1]]);
  const durations = await telemetry.points('mcp.server.start.duration');
  expect(durations.map(({ value }) => (value as Histogram).count)).toEqual([1]);
  expect(telemetry.spans().map(({ attributes }) => attributes['error.type'])).toEqual(['START_FAILED', undefined]);
});

test('the phase and the requests in flight are those of the moment', async () => {
  await using telemetry = createTelemetry();
  const shop = createShop();
  const catalog = { servers: [{ id: 'shop', runtime: { type: 'in-process', server: shop.create } }] } as const;
  await using gateway = createObservedGateway(catalog, telemetry.meter, telemetry.tracer);
  const read = async () => ({
    phases: (await telemetry.points('mcp.server.phase'))
      .filter(({ value }) => value === 1)
      .map(({ attributes }) => attributes.phase),
    inFlight: (await telemetry.points('mcp.server.in_flight')).map(({ value }) => value),
  });
  expect(await read()).toEqual({ phases: ['idle'], inFlight: [0] });
  const client = await connect(gateway);
  const calling = client.callTool({ name: 'shop__slow' });
  await shop.called;
  expect(await read()).toEqual({ phases: ['ready'], inFlight: [1] });
  shop.release();
  await calling;
  expect(await read()).toEqual({ phases: ['ready'], inFlight: [0] });
  await gateway.stop('shop');
  expect(await read()).toEqual({ phases: ['idle'], inFlight: [0] });
});

test('the diagnostics channel tells the same events, of every gateway of the process', async () => {
  await using telemetry = createTelemetry();
  const record = eventMetrics(telemetry.meter);
  const listen = (event: unknown) => record(event as GatewayEvent);
  subscribe('open-mcp-gateway', listen);
  try {
    for (const id of ['one', 'two']) {
      await using gateway = createGateway({
        servers: [{ id, runtime: { type: 'in-process', server: createShop().create } }],
      });
      await gateway.start(id);
    }
  } finally {
    unsubscribe('open-mcp-gateway', listen);
  }
  const points = await telemetry.points('mcp.server.starts');
  expect(points.map(({ attributes, value }) => [attributes.server, value])).toEqual([
    ['one', 1],
    ['two', 1],
  ]);
});
