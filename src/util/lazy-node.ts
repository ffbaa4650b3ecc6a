/**
 * Modules of Node that take longer to load than the rest of this library, loaded by the first server that needs them. A
 * plain import would have every host wait for them, also one that speaks to child processes alone.
 */
export const lazyNode = {
  get http() {
    return process.getBuiltinModule('node:http');
  },
  get https() {
    return process.getBuiltinModule('node:https');
  },
  get tls() {
    return process.getBuiltinModule('node:tls');
  },
  get zlib() {
    return process.getBuiltinModule('node:zlib');
  },
};
