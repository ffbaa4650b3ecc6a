import type { Handler, Script } from './scripted-server.js';

/** Servers of one tool, of which one holds up the end of its handshake. @param index - which of the instances */
export function slowToBegin(until: Promise<unknown>, index = 0): Script {
  const initialize: Handler = ({ params }, instance) => {
    const send = instance.send.bind(instance);
    instance.send = async (message) => {
      await send(message);
      const isIt = instance.server.instances.indexOf(instance) === index;
      if (isIt && 'method' in message && message.method === 'notifications/initialized') await until;
    };
    const serverInfo = { name: 'slow', version: '1' };
    return { protocolVersion: params?.protocolVersion, capabilities: { tools: {} }, serverInfo };
  };
  return { tools: [{ name: 'x' }], on: { initialize } };
}
