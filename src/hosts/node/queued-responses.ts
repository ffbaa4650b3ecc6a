import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setImmediate } from '../../util/immediate.js';

/** What waits for its turn, by connection: one listener for all, of which there may be many. */
const queues = new WeakMap<Socket, Set<ServerResponse>>();

/**
 * Ends a response that waits for its turn behind another one when their connection ends: Node told such a response of nothing
 * until April 2026.
 */
export function closeWithConnection(response: ServerResponse, connection: Socket): void {
  if (connection.destroyed) {
    response.destroyed || close(response);
    return;
  }
  let queue = queues.get(connection);
  if (queue === undefined) {
    const waiting = new Set<ServerResponse>();
    // A turn later: newer versions have told them all by then.
    connection.once('close', () => setImmediate(() => waiting.forEach(close)));
    queue = waiting;
    queues.set(connection, queue);
  }
  queue.add(response);
  const leave = () => queue.delete(response);
  // It has its turn, or its end.
  response.once('socket', leave).once('close', leave);
}

/**
 * Gives a response up, and its connection with it. That of one which waits for its turn ends when that comes: newer versions
 * leave it open, with a client that waits.
 */
export function giveUp(response: ServerResponse): void {
  response.once('socket', (connection: Socket) => connection.destroy());
  response.destroy();
}

/** Also one that was given up while it waited, which those versions told of nothing either. */
function close(response: ServerResponse): void {
  response.destroy();
  response.emit('close');
}
