// The library, with connections that lose, double and mix up answers, or say that a call was not delivered which was answered,
// and a gateway that leaves a process behind: the chaos has to find all of it.
import { spawn } from 'node:child_process';
import * as library from '../../dist/index.js';

export * from '../../dist/index.js';

export function createGateway(catalog, options) {
  const gateway = library.createGateway(catalog, options);
  const { env } = catalog.servers.find((server) => server.env !== undefined);
  // Not one of the servers, which the chaos kills.
  const marks = { ...process.env, ...env, CHAOS_PLACE: '' };
  spawn('sleep', ['600'], { detached: true, stdio: 'ignore', env: marks }).unref();
  const connect = gateway.connect.bind(gateway);
  gateway.connect = (...args) => careless(connect(...args));
  return gateway;
}

function careless(transport) {
  let count = 0;
  const deliver = (onmessage) => (message, extra) => {
    count += message.result?.content === undefined ? 0 : 1;
    if (count % 10 === 3) return;
    if (count % 10 === 5) onmessage(message, extra);
    if (count % 10 === 7) message.result.content[0].text = message.result.content[0].text.replace('h', 'x');
    onmessage(count % 10 === 9 && message.result?.content !== undefined ? toLie(message) : message, extra);
  };
  return new Proxy(transport, {
    get: (target, key) => {
      const value = target[key];
      return typeof value === 'function' ? value.bind(target) : value;
    },
    set: (target, key, value) => {
      target[key] = key === 'onmessage' ? deliver(value) : value;
      return true;
    },
  });
}

function toLie({ jsonrpc, id, result }) {
  const { server } = JSON.parse(result.content[0].text);
  return {
    jsonrpc,
    id,
    error: { code: 1201, message: 'lied', data: { code: 'SERVER_EXITED', server, delivered: false } },
  };
}
