// A cluster that speaks v5 of the attach protocol: the real one of the tests is too old for it.
import { expect, test } from 'vitest';
import { GatewayError } from '../../../src/errors.js';
import { K8sJobRuntime } from '../../../src/runtimes/k8s-job.js';
import type { JSONRPCMessage } from '../../../src/sdk.js';
import { createRuntimeContext } from '../../../src/testing/index.js';
import { FakeApiServer, sendJson } from '../../support/kubernetes/fake-api-server.js';
import { frame, ModernCluster } from '../../support/kubernetes/modern-cluster.js';

const lastWords = 'the last words';
/** Of long lines: longer together than what is kept of it. */
const longLog = `${`${'x'.repeat(10_000)}\n`.repeat(60)}${lastWords}\n`;

/** What a kubelet sends of a log: `limitBytes` counts from the start of the last lines. */
function sentOf(log: string, query: URLSearchParams): string {
  const lines = log.split(/(?<=\n)/);
  const last = lines.slice(-Number(query.get('tailLines') ?? lines.length)).join('');
  return last.slice(0, Number(query.get('limitBytes') ?? last.length));
}

async function opened(use: (cluster: ModernCluster, session: Awaited<ReturnType<typeof begin>>) => Promise<void>) {
  await using fake = await FakeApiServer.listen();
  const cluster = new ModernCluster(fake);
  const runtime = new K8sJobRuntime({ kubeconfig: fake.kubeconfig });
  try {
    await use(cluster, await begin(runtime));
  } finally {
    await runtime.close();
  }
}

async function begin(runtime: K8sJobRuntime) {
  const transport = await runtime.open({ namespace: 'home', image: 'a' }, createRuntimeContext({ server: 'orders' }));
  const messages: JSONRPCMessage[] = [];
  const log: string[] = [];
  const reasons: Error[] = [];
  const { promise: first, resolve } = Promise.withResolvers<void>();
  const closed = new Promise<void>((done) => {
    transport.onclose = () => {
      log.push('close');
      done();
    };
  });
  transport.onerror = (error) => {
    reasons.push(error);
    log.push(error.message);
  };
  transport.onmessage = (message) => {
    messages.push(message);
    resolve();
  };
  await transport.start();
  return { transport, messages, log, reasons, first, closed };
}

const question = { jsonrpc: '2.0' as const, id: 1, method: 'ping' };

test('closing ends the input by a frame, and deletes the Job once the server has ended', () =>
  opened(async (cluster, { transport, messages, first, log }) => {
    await transport.send(question);
    await first;
    expect(messages).toEqual([question]);
    const order: string[] = [];
    cluster.onInputEnd = (socket) => {
      order.push('end of input');
      expect(cluster.deleted).toEqual([]);
      socket.close(1000);
    };
    await transport.close();
    expect(order).toEqual(['end of input']);
    expect(cluster.got).toEqual([frame(0, `${JSON.stringify(question)}\n`), Buffer.of(255, 0)]);
    expect(cluster.deleted).toMatchObject([{ propagationPolicy: 'Background' }]);
    expect(log).toEqual(['close']);
  }));

test('a server that ignores the end of its input is deleted all the same', () =>
  opened(async (cluster, { transport, log }) => {
    cluster.onInputEnd = () => {};
    await transport.close();
    expect(cluster.deleted).toHaveLength(1);
    expect(log).toEqual(['close']);
  }));

test('the exit code comes later than the end of the streams, and is waited for', () =>
  opened(async (cluster, { transport, messages, first, closed, log }) => {
    await transport.send(question);
    await first;
    const [socket] = cluster.fake.webSockets;
    socket?.send(frame(1, `${JSON.stringify({ ...question, id: 2 })}\n`));
    socket?.send(frame(3, '{"status":"Success"}'));
    socket?.close(1000);
    // As long as kubelets take, and longer than the end of a process's output may precede its own.
    setTimeout(() => cluster.setPod({ terminated: { exitCode: 7, reason: 'Error' } }, 'Failed'), 600);
    await closed;
    expect(messages).toHaveLength(2);
    expect(log).toEqual(['"orders": the server ended with code 7', 'close']);
  }));

test.each<[string, number, 'before' | 'after']>([
  ['events', 500, 'before'],
  ['events', 503, 'after'],
  ['events', 429, 'after'],
  ['jobs/', 500, 'before'],
])('what is asked about a start (%s) may be answered with %s %s there is a pod', async (kind, status, when) => {
  await using fake = await FakeApiServer.listen();
  const cluster = new ModernCluster(fake);
  cluster.atFirst = when === 'before' ? undefined : [{ waiting: { reason: 'ContainerCreating' } }, 'Pending'];
  const { answer } = fake;
  fake.answer = (request, response) => {
    const asked = request.method === 'GET' && request.url?.includes(`/${kind}`);
    if (!asked) return answer(request, response);
    sendJson(response, status, { message: 'etcdserver: leader changed' });
    setTimeout(() => cluster.setPod({ running: {} }, 'Running'), 50);
  };
  const runtime = new K8sJobRuntime({ kubeconfig: fake.kubeconfig });
  try {
    const { transport } = await begin(runtime);
    await transport.close();
  } finally {
    await runtime.close();
  }
});

test.each<[string, RegExp, (fake: FakeApiServer) => void]>([
  [
    'to attach to a pod',
    /^the API server is asked to attach to the pod pod$/,
    (fake) => {
      fake.upgrading = (socket) => {
        socket.resume().once('end', () => socket.destroy());
        return false;
      };
    },
  ],
  [
    'to list pods, which it cannot now',
    /^cannot list pods in namespace "home" \(500\): etcdserver: leader changed$/,
    (fake) => {
      const { answer } = fake;
      fake.answer = (request, response) => {
        if (request.method !== 'GET' || !request.url?.includes('/pods?')) return answer(request, response);
        sendJson(response, 500, { message: 'etcdserver: leader changed' });
      };
    },
  ],
])('what a start waits for is told: an API server that is asked %s', async (_, expected, hinder) => {
  await using fake = await FakeApiServer.listen();
  new ModernCluster(fake);
  const { answer } = fake;
  hinder(fake);
  const runtime = new K8sJobRuntime({ kubeconfig: fake.kubeconfig });
  const abort = new AbortController();
  const report = (_phase: string, { message = '' }: { readonly message?: string | undefined } = {}) => {
    if (!expected.test(message)) return;
    fake.answer = answer;
    abort.abort(new Error('it was told'));
  };
  const opening = runtime.open(
    { namespace: 'home', image: 'a' },
    createRuntimeContext({ report, signal: abort.signal }),
  );
  await expect(opening).rejects.toThrow('it was told');
  await runtime.close();
});

test('an answer that is still on its way when Kubernetes tells of the end of its server is delivered', () =>
  opened(async (cluster, { messages, closed, log }) => {
    const [socket] = cluster.fake.webSockets;
    const answer = { jsonrpc: '2.0', id: 1, result: { text: 'x'.repeat(1_000) } } as const;
    const text = `${JSON.stringify(answer)}\n`;
    cluster.setPod({ terminated: { exitCode: 0, reason: 'Completed' } }, 'Succeeded');
    // A slow line, or one that lost a packet.
    for (let at = 0; at < text.length; at += 200) {
      socket?.send(frame(1, text.slice(at, at + 200)));
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    socket?.close(1000);
    await closed;
    expect(messages).toEqual([answer]);
    expect(log).toEqual(['"orders": the server ended with code 0', 'close']);
  }));

test('what a server has written to stderr goes to who reads it, also when it comes after the news of its end', () =>
  opened(async (cluster, { transport, closed, log }) => {
    const [socket] = cluster.fake.webSockets;
    const read = async () => {
      let text = '';
      for await (const chunk of transport.stderr ?? []) {
        text += String(chunk);
        // A log that takes its time.
        await new Promise((resolve) => setTimeout(resolve, 300));
      }
      return text;
    };
    const text = read();
    cluster.setPod({ terminated: { exitCode: 1, reason: 'Error' } }, 'Failed');
    for (const part of ['one ', 'two ', 'three ', 'four']) {
      socket?.send(frame(2, part));
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    socket?.close(1000);
    await closed;
    expect(await text).toBe('one two three four');
    expect(log).toEqual([expect.stringContaining('one two three four'), 'close']);
  }));

/** The error of an open on a cluster whose server ends at once. */
async function endedAtOnce(sendLog: ModernCluster['sendLog']): Promise<GatewayError> {
  await using fake = await FakeApiServer.listen();
  const cluster = new ModernCluster(fake);
  cluster.atFirst = [{ terminated: { exitCode: 9, reason: 'Error' } }, 'Failed'];
  cluster.sendLog = sendLog;
  const runtime = new K8sJobRuntime({ kubeconfig: fake.kubeconfig });
  try {
    const error = await begin(runtime).catch((thrown: unknown) => thrown);
    if (!GatewayError.is(error)) throw error;
    return error;
  } finally {
    await runtime.close();
  }
}

test('the last words of a server that ended before it was attached to are told, however long its lines are', async () => {
  const { exit, message } = await endedAtOnce((response, query) => response.end(sentOf(longLog, query)));
  expect(exit).toMatchObject({ code: 9, stderrTail: expect.stringMatching(new RegExp(`^x+\n(.*\n)*${lastWords}\n$`)) });
  expect(exit?.stderrTail?.length).toBeLessThanOrEqual(64 * 1024);
  expect(message).toContain(lastWords);
});

test('what has come of a log that is cut off is told', async () => {
  const { exit } = await endedAtOnce((response) => response.write('as far as here\n', () => response.destroy()));
  expect(exit?.stderrTail).toBe('as far as here\n');
});

test('the last words of a server whose connection was lost are told, however long its lines are', () =>
  opened(async (cluster, { reasons, closed }) => {
    cluster.sendLog = (response, query) => response.end(sentOf(longLog, query));
    for (const socket of cluster.fake.webSockets) socket.terminate();
    await closed;
    const [reason] = reasons;
    expect(GatewayError.is(reason) && reason.exit).toMatchObject({
      reason: 'connection-lost',
      stderrTail: expect.stringMatching(new RegExp(`${lastWords}\n$`)),
    });
  }));

// API servers of today take a WebSocket before they ask the kubelet.
test('why a kubelet could not be reached, which the API server says when it has taken the connection, is told', async () => {
  await using fake = await FakeApiServer.listen();
  const cluster = new ModernCluster(fake);
  const said = 'error dialing backend: dial tcp 10.0.0.5:10250: connect: connection refused';
  cluster.sendLog = (response) => response.writeHead(500).end(said);
  fake.connected = (socket) => {
    const status = JSON.stringify({
      kind: 'Status',
      status: 'Failure',
      message: said,
      reason: 'InternalError',
      code: 500,
    });
    for (const part of [status.slice(0, 30), status.slice(30)]) socket.send(frame(3, part));
    socket.close(1000);
  };
  const runtime = new K8sJobRuntime({ kubeconfig: fake.kubeconfig });
  try {
    const { closed, reasons } = await begin(runtime);
    await closed;
    expect(reasons).toMatchObject([{ code: 'SERVER_EXITED', exit: { reason: 'connection-lost' } }]);
    expect(reasons[0]?.message).toContain(`the connection to the server was lost: ${said}`);
  } finally {
    await runtime.close();
  }
});

/** What a log says of a lost connection, when the server has answered before. */
const toldOf = async (log: string) => {
  let told: string | undefined;
  await opened(async (cluster, { transport, first, reasons, closed }) => {
    await transport.send(question);
    await first;
    cluster.sendLog = (response, query) => response.end(sentOf(log, query));
    for (const socket of cluster.fake.webSockets) socket.terminate();
    await closed;
    const [reason] = reasons;
    told = GatewayError.is(reason) ? reason.exit?.stderrTail : undefined;
  });
  return told;
};

const answer = '{"jsonrpc":"2.0","id":7,"result":{"of":"somebody else"}}';

test.each([
  ['the words between answers', `first\n${answer}\nsecond\n${answer}\nthird\n`, 'second\nthird\n'],
  ['nothing behind half an answer', `${answer}\nwords\n${answer.slice(0, 40)}`, 'words\n'],
  ['nothing behind words and an answer in one line', `${answer}\nwords\n100 %${answer}\nmore\n`, 'words\n'],
  ['nothing of half an answer at its start', `of":"somebody else"}}\n${answer}\nwords\n`, 'words\n'],
  ['nothing of an answer that is longer than what is read', `${'somebody else '.repeat(10_000)}"}}\n`, ''],
])('of the log of a server whose connection was lost is told: %s', async (_, log, told) => {
  expect(await toldOf(log)).toBe(told);
});
