import type { GatewayError } from '../../errors.js';
import type { JSONRPCRequest } from '../../sdk.js';
import { DualPeer } from '../dual-peer.js';
import { MergedTransport } from '../merged-transport.js';
import { ModernPeer, type ModernPeerOptions } from '../modern/modern-peer.js';
import type { Peer, SendToCaller } from '../peer.js';
import { LegacyOnly, NoSession } from './one-era.js';
import { type OneServerOptions, OneServerSession } from './one-server-session.js';
import { type FirstConnection, StartedAhead } from './started-ahead.js';

export interface ConnectEraOptions
  extends Omit<OneServerOptions, 'server' | 'startTimeoutMs' | 'connect' | 'refusal' | 'onEnd'>,
    Pick<ModernPeerOptions, 'states' | 'caller' | 'isForAll'> {
  readonly era: 'legacy' | 'modern';
  readonly connections: FirstConnection;
  /** It starts. Throws when the gateway takes no more peers. */
  enter(): void;
  onClosed(transport: MergedTransport): void;
}

/** A transport to one server that speaks one era to its caller, whatever the server speaks. It ends with the server. */
export function connectEra(options: ConnectEraOptions): MergedTransport {
  const { era, connections, enter, onClosed, clock, states, caller, isForAll } = options;
  const { server, startTimeoutMs } = connections;
  const onEnd = (reason: GatewayError) => transport.fail(reason);
  const ahead = new StartedAhead(connections, onEnd);
  const refusal = (request: JSONRPCRequest) => transport.refusal?.(request);
  const session = (send: SendToCaller, refused = refusal) =>
    new OneServerSession({ server, startTimeoutMs, clock, connect: () => ahead.take(), refusal: refused, onEnd }, send);
  const createModern = () => {
    // Its sessions have ids of their own for what the caller has sent.
    const refused = (request: JSONRPCRequest) => refusal(modern.sentAs(request.id) ?? request);
    const createSession = (send: SendToCaller) => session(send, refused);
    const modern: ModernPeer = new ModernPeer({ clock, states, caller, isForAll, createSession });
    return modern;
  };
  const create = (send: SendToCaller): Peer =>
    era === 'legacy'
      ? new LegacyOnly(session(send), send)
      : new DualPeer({ createSession: (reply) => new NoSession(reply), createModern }, send);
  const transport: MergedTransport = new MergedTransport(
    (send) => ahead.closeWith(create(send)),
    onClosed,
    async () => {
      enter();
      await ahead.start();
    },
    server,
  );
  return transport;
}
