// The library, with a connection that keeps a little of everything for each message: the soak has to find it.
import { openSync } from 'node:fs';
import * as library from '../../dist/index.js';

const kept = [];

export * from '../../dist/index.js';

export function createGateway(catalog, options) {
  const gateway = library.createGateway(catalog, options);
  const connect = gateway.connect.bind(gateway);
  gateway.connect = (...args) => {
    const transport = connect(...args);
    const send = transport.send.bind(transport);
    transport.send = (message, ...more) => {
      kept.push(new Array(8_000).fill(message));
      process.on('leak', () => {});
      options.clock.setTimeout(() => {}, 3_600_000);
      openSync('/dev/null');
      return send(message, ...more);
    };
    return transport;
  };
  return gateway;
}
