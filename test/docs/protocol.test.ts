import { readFileSync } from 'node:fs';
import {
  ClientNotificationSchema,
  ClientRequestSchema,
  ServerNotificationSchema,
  ServerRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { describe, expect, test } from 'vitest';
import { readProofs } from '../proof-reporter.js';

const page = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');

/** The rows of the four tables that say what becomes of what, each without its head. */
const [fromSessions = [], toSessions = [], fromStateless = [], toStateless = []] = page
  .split('\n\n')
  .filter((part) => part.includes('| Proof |'))
  .map((part) => part.trim().split('\n').slice(2));

/** The methods that the first cells of a table name. */
const named = (rows: readonly string[]) =>
  rows.flatMap((row) => [...(row.split(' | ')[0] ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name));

type Schemas = { readonly options: readonly { readonly shape: { readonly method: { readonly value: string } } }[] };
const methodsOf = (...schemas: readonly unknown[]) =>
  (schemas as Schemas[]).flatMap(({ options }) => options.map(({ shape }) => shape.method.value));

const lists = ['tools/list', 'prompts/list', 'resources/list', 'resources/templates/list'];
const changes = ['tools', 'prompts', 'resources'].map((kind) => `notifications/${kind}/list_changed`);

/** Revision 2026-07-28 and its extension for tasks: its SDK shows no list of them. */
const stateless = {
  client: [
    ...lists,
    ...['server/discover', 'tools/call', 'prompts/get', 'resources/read', 'completion/complete'],
    ...['subscriptions/listen', 'tasks/get', 'tasks/update', 'tasks/cancel', 'notifications/cancelled'],
  ],
  server: [
    ...changes,
    ...['notifications/progress', 'notifications/message', 'notifications/resources/updated'],
    ...['notifications/subscriptions/acknowledged', 'notifications/cancelled', 'notifications/tasks'],
  ],
};

describe('the tables of the page on the protocol', () => {
  test.each([
    ['a caller with a session', fromSessions, methodsOf(ClientRequestSchema, ClientNotificationSchema)],
    ['a stateless server', toSessions, stateless.server],
    ['a stateless caller', fromStateless, stateless.client],
    ['a server with sessions', toStateless, methodsOf(ServerRequestSchema, ServerNotificationSchema)],
  ])('name all that %s may send', (_, rows, methods) => {
    expect(methods.length).toBeGreaterThan(8);
    expect(methods.filter((method) => !named(rows).includes(method))).toEqual([]);
  });

  test('have a proof in each row, which a run in which it fails does not pass', () => {
    const rows = [fromSessions, toSessions, fromStateless, toStateless].flat();
    expect(rows.length).toBeGreaterThan(40);
    expect(rows.filter((row) => readProofs(row).length === 0)).toEqual([]);
  });
});
