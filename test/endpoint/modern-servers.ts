import { hold, type Json, RpcError, type Script } from './scripted-server.js';

/** What a server of the stateless era says of itself. */
export const discovery = (more: Json = {}): Json => ({
  resultType: 'complete',
  supportedVersions: ['2026-07-28'],
  capabilities: { tools: { listChanged: true }, logging: {}, resources: { subscribe: true } },
  instructions: 'Be kind.',
  ttlMs: 0,
  cacheScope: 'private',
  _meta: { 'io.modelcontextprotocol/serverInfo': { name: 'modern', version: '7' } },
  ...more,
});

/** A server of the stateless era alone. */
export const statelessServer = (more: NonNullable<Script['on']> = {}): Script => ({
  tools: [{ name: 'go' }],
  on: {
    'server/discover': () => discovery(),
    initialize: () => {
      throw new RpcError(-32022, 'no such version', { supported: ['2026-07-28'] });
    },
    'subscriptions/listen': (request, instance) => {
      instance.notify('notifications/subscriptions/acknowledged', {
        notifications: request.params?.notifications,
        _meta: { 'io.modelcontextprotocol/subscriptionId': request.id },
      });
      return hold;
    },
    ...more,
  },
});
