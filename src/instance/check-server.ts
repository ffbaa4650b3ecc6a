import type { CheckResult } from '../runtime.js';
import { abortable } from '../util/abort.js';
import { textOf } from '../util/text-of.js';
import type { InstanceEnvironment } from './instance.js';
import { createContext } from './open-transport.js';
import { problemOf, type Room } from './room.js';

export interface CheckedServer extends InstanceEnvironment {
  readonly room: Room;
}

/** Whether an instance could be started, as far as that can be said without starting one. The problems hold no secrets. */
export async function checkServer(server: CheckedServer, signal: AbortSignal): Promise<CheckResult> {
  const { factory, gatewayId, clock, prepare, room } = server;
  let { definition, redactor } = server;
  const tooLarge = room.memory && problemOf(room.memory);
  if (tooLarge !== undefined) {
    return { ok: false, problems: [tooLarge] };
  }
  try {
    if (prepare !== undefined) {
      ({ definition, redactor } = await prepare(signal));
    }
    if (factory.check === undefined) {
      return { ok: true, problems: [] };
    }
    const instanceId = `${gatewayId}-check`;
    const context = createContext(
      { definition, gatewayId, instanceId, caller: undefined, clock, signal },
      (secrets) => {
        redactor = redactor.with(secrets);
      },
    );
    const { ok, problems } = await abortable(Promise.resolve(factory.check(definition.runtime.spec, context)), signal);
    return { ok, problems: problems.map((problem) => redactor.text(problem)) };
  } catch (error) {
    signal.throwIfAborted();
    return { ok: false, problems: [redactor.text(textOf(error))] };
  }
}
