import fc from 'fast-check';
import { expect, test } from 'vitest';
import { count } from '../support/counts.js';
import { settle } from '../support/fake-clock.js';
import { ModernTestCaller } from './modern-caller.js';
import { hold, type Json, type Script } from './scripted-server.js';
import { setUp } from './setup.js';

/** What may happen; `at` chooses what it happens to. */
type Step = {
  readonly do: (typeof steps)[number];
  readonly caller: number;
  readonly server: number;
  readonly at: number;
};

const steps = ['call', 'answer', 'forge', 'steal', 'replay', 'cancel', 'listen', 'update', 'restart'] as const;
const callers = 3;
const servers = 2;
const prefix = 'io.modelcontextprotocol/';

/** A server with sessions that asks in each call who the caller is, and answers with what it heard. */
const sessions: Script = {
  tools: [{ name: 'go' }],
  resources: [{ uri: 'x://1' }],
  on: {
    'tools/call': async (request, instance) => {
      const { tag } = (request.params?.arguments ?? {}) as Json;
      const heard = instance.ask(`${request.id}`, 'elicitation/create', { message: String(tag) });
      const { result } = await heard;
      return result === undefined ? hold : { content: [], structuredContent: { tag, heard: (result as Json).content } };
    },
  },
};

/** The same of the stateless era: its state is all that it remembers. */
const stateless: Script = {
  tools: [{ name: 'go' }],
  resources: [{ uri: 'x://1' }],
  on: {
    'server/discover': () => ({
      resultType: 'complete',
      supportedVersions: ['2026-07-28'],
      capabilities: { tools: {}, resources: { subscribe: true } },
    }),
    'subscriptions/listen': (request, instance) => {
      instance.notify('notifications/subscriptions/acknowledged', {
        notifications: request.params?.notifications,
        _meta: { [`${prefix}subscriptionId`]: request.id },
      });
      return hold;
    },
    'tools/call': (request) => {
      const { requestState, inputResponses } = (request.params ?? {}) as Json;
      const { tag } = (request.params?.arguments ?? {}) as Json;
      const answer = (inputResponses as Json | undefined)?.who as Json | undefined;
      return answer === undefined || requestState === undefined
        ? {
            resultType: 'input_required',
            inputRequests: { who: { method: 'elicitation/create', params: { message: String(tag) } } },
            requestState: `state of ${tag}`,
          }
        : { content: [], structuredContent: { tag, heard: answer.content, state: requestState } };
    },
  },
};

interface Asked {
  readonly caller: number;
  readonly server: number;
  readonly tag: string;
  readonly result: Json;
  used: boolean;
}

async function play(plan: readonly Step[], saw: (what: string) => void): Promise<void> {
  await using setup = setUp({ s0: sessions, s1: stateless });
  const peers = await Promise.all(
    Array.from({ length: callers }, (_, index) =>
      ModernTestCaller.open(setup.gateway.connect({ caller: { id: `c${index}` } }), { elicitation: {} }),
    ),
  );
  const rounds: Asked[] = [];
  const running: Promise<unknown>[] = [];
  let count = 0;

  const peerOf = (caller: number) => peers[caller] as ModernTestCaller;
  const inputOf = ({ result }: Asked, content: Json) =>
    Object.fromEntries(Object.keys(result.inputRequests as Json).map((key) => [key, { action: 'accept', content }]));
  const retry = (asked: Asked, by: number, requestState: unknown = asked.result.requestState) =>
    peerOf(by).request('tools/call', {
      name: `s${asked.server}__go`,
      arguments: { tag: asked.tag },
      requestState,
      inputResponses: inputOf(asked, { by }),
    });
  const isRefused = (answer: Json) => (answer.error as Json | undefined)?.code === -32602;

  for (const step of plan) {
    const asked = rounds[step.at % Math.max(1, rounds.length)];
    switch (step.do) {
      case 'call': {
        count += 1;
        const tag = `t${count}.c${step.caller}`;
        const call = peerOf(step.caller)
          .request('tools/call', { name: `s${step.server}__go`, arguments: { tag } })
          .then(({ result }) => {
            if (result === undefined) return;
            const { inputRequests } = result as Json;
            // Each caller is asked of its own calls alone.
            const messages = Object.values(inputRequests as Json).map(
              (each) => ((each as Json).params as Json).message,
            );
            for (const message of messages) expect(String(message)).toMatch(new RegExp(`\\.c${step.caller}$`));
            saw('asked');
            rounds.push({ caller: step.caller, server: step.server, tag, result: result as Json, used: false });
          });
        running.push(call);
        await settle();
        break;
      }
      case 'answer':
        if (asked !== undefined && !asked.used) {
          asked.used = true;
          const answering = retry(asked, asked.caller).then((answer) => {
            const content = (answer.result as Json | undefined)?.structuredContent as Json | undefined;
            if (content === undefined) return;
            saw(content.state === undefined ? 'answered in a session' : 'answered by state');
            expect(String(content.tag)).toMatch(new RegExp(`\\.c${asked.caller}$`));
            expect(content.heard).toEqual({ by: asked.caller });
            content.state === undefined || expect(content.state).toBe(`state of ${asked.tag}`);
          });
          running.push(answering);
          await settle();
        }
        break;
      case 'forge':
        if (asked !== undefined) {
          const state = String(asked.result.requestState);
          const at = step.at % state.length;
          const other = state[at] === 'A' ? 'B' : 'A';
          saw('forge');
          expect(isRefused(await retry(asked, asked.caller, state.slice(0, at) + other + state.slice(at + 1)))).toBe(
            true,
          );
        }
        break;
      case 'steal':
        if (asked !== undefined) {
          saw('steal');
          expect(isRefused(await retry(asked, (asked.caller + 1) % callers))).toBe(true);
        }
        break;
      case 'replay':
        // A state of ours is good once; a server's own as often as the server likes, for the same caller and request.
        if (asked?.used === true && asked.server === 0) {
          saw('replay');
          expect(isRefused(await retry(asked, asked.caller))).toBe(true);
        }
        break;
      case 'cancel': {
        count += 1;
        const id = `cancelled ${count}`;
        const peer = peerOf(step.caller);
        void peer.request('tools/call', { name: `s${step.server}__go`, arguments: { tag: `x.c${step.caller}` } }, id);
        await peer.send({ method: 'notifications/cancelled', params: { requestId: id } });
        await settle();
        expect(peer.answers(id)).toEqual([]);
        break;
      }
      case 'listen':
        count += 1;
        void peerOf(step.caller).request(
          'subscriptions/listen',
          { notifications: { resourceSubscriptions: ['x://1'] } },
          `listen ${step.caller} ${count}`,
        );
        await settle();
        break;
      case 'update':
        for (const instance of setup.server('s0').live)
          instance.notify('notifications/resources/updated', { uri: 'x://1' });
        await settle();
        break;
      default:
        for (const instance of setup.server(`s${step.server}`).live) instance.die();
        await settle();
        await setup.clock.advance(60_000);
    }
  }
  for (const [index, peer] of peers.entries()) {
    for (const { _meta } of peer.notifications('notifications/resources/updated')) {
      saw('updated');
      expect(String((_meta as Json)[`${prefix}subscriptionId`])).toMatch(new RegExp(`^listen ${index} `));
    }
    // A stateless caller gets no requests.
    expect(peer.received.filter((message) => 'method' in message && 'id' in message)).toEqual([]);
  }
  const closed = Promise.all(peers.map((peer) => peer.close()));
  await setup.clock.advance(0);
  await closed;
  // What failed in the course of it: the rest waits for answers that a closed connection does not get.
  await Promise.race([Promise.all(running), settle()]);
}

const step: fc.Arbitrary<Step> = fc.record({
  do: fc.constantFrom(...steps),
  caller: fc.nat(callers - 1),
  server: fc.nat(servers - 1),
  at: fc.nat(200),
});

test('no state leaks between callers, and no state that was forged, stolen or used is good', async () => {
  const numRuns = count(500, 5_000);
  const seen = new Map<string, number>();
  const saw = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1);
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), (plan) => play(plan, saw)),
    { numRuns },
  );
  // A plan in which nothing happens proves nothing.
  for (const what of ['asked', 'answered in a session', 'answered by state', 'updated', 'forge', 'steal', 'replay']) {
    expect(seen.get(what) ?? 0, what).toBeGreaterThan(numRuns / 100);
  }
}, 600_000);
