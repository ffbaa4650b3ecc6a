export { ScriptedInstance } from '../../src/testing/scripted-instance.js';
export {
  hold,
  type Json,
  ScriptedError as RpcError,
  type ScriptedHandler as Handler,
  ScriptedServer,
  type ServerScript as Script,
} from '../../src/testing/scripted-server.js';
