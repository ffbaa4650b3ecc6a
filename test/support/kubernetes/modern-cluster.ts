import type { ServerResponse } from 'node:http';
import type { WebSocket } from 'ws';
import { type FakeApiServer, sendJson } from './fake-api-server.js';

/** What a channel of an attached container carries. */
export const frame = (channel: number, text: string) => Buffer.concat([Buffer.of(channel), Buffer.from(text)]);

/** One Job, whose pod runs as soon as it is made, and whose server answers each line with one. */
export class ModernCluster {
  readonly got: Buffer[] = [];
  readonly deleted: unknown[] = [];
  /** What the server does at the end of its input. */
  onInputEnd: (socket: WebSocket) => void = (socket) => socket.close(1000);
  /** Sends the log of the server. */
  sendLog: (response: ServerResponse, query: URLSearchParams) => void = (response) => response.end('');
  /** The state and phase of its container as soon as it is made; undefined when there is no pod yet. */
  atFirst: [state: object, phase: string] | undefined = [{ running: {} }, 'Running'];
  #labels = {};
  #pods: object[] = [];
  #watch: ServerResponse | undefined;
  #version = 1;

  constructor(readonly fake: FakeApiServer) {
    fake.takeProtocol = (offered) => (offered.has('v5.channel.k8s.io') ? 'v5.channel.k8s.io' : false);
    fake.connected = (socket) => {
      socket.on('message', (data: Buffer) => {
        this.got.push(data);
        if (data[0] === 255) this.onInputEnd(socket);
        else socket.send(frame(1, data.subarray(1).toString()));
      });
    };
    fake.answer = async (request, response) => {
      const { pathname, searchParams } = new URL(request.url ?? '', fake.url);
      const body = JSON.parse(Buffer.concat(await request.toArray()).toString() || '{}');
      const kind = pathname.split('/')[pathname.startsWith('/api/') ? 5 : 6];
      if (pathname.endsWith('/log')) this.sendLog(response, searchParams);
      else if (searchParams.has('watch')) {
        this.#watch = response;
        response.writeHead(200).flushHeaders();
        for (const pod of this.#pods) this.#tell('ADDED', pod);
      } else if (request.method === 'GET') {
        sendJson(response, 200, { metadata: { resourceVersion: '1' }, items: kind === 'pods' ? this.#pods : [] });
      } else if (kind === 'jobs' && request.method === 'POST') {
        this.#labels = body.spec.template.metadata.labels;
        sendJson(response, 201, { ...body, metadata: { ...body.metadata, uid: 'job' } });
        if (this.atFirst !== undefined) this.setPod(...this.atFirst);
      } else if (kind === 'jobs') {
        this.deleted.push(body);
        sendJson(response, 200, {});
        const [pod] = this.#pods;
        this.#pods = [];
        if (pod !== undefined) this.#tell('DELETED', pod);
      } else sendJson(response, 201, { ...body, metadata: { ...body.metadata, uid: 'made' } });
    };
  }

  setPod(state: object, phase: string): void {
    this.#version += 1;
    const metadata = { name: 'pod', uid: 'pod', labels: this.#labels, resourceVersion: String(this.#version) };
    this.#pods = [{ metadata, status: { phase, containerStatuses: [{ name: 'mcp', state }] } }];
    this.#tell('MODIFIED', this.#pods[0] ?? {});
  }

  #tell(type: string, object: object): void {
    this.#watch?.write(`${JSON.stringify({ type, object })}\n`);
  }
}
