import { GatewayError } from '../../errors.js';
import { textOf } from '../../util/text-of.js';
import { EngineError } from './engine/engine.js';
import { explainProgram } from './exit-reason.js';
import type { DockerSpec } from './spec.js';

/** Why a container could not be made or started, with what to change where that can be told. */
export function toStartError(error: unknown, spec: DockerSpec, server: string): GatewayError {
  if (GatewayError.is(error)) {
    return error;
  }
  const said = textOf(error);
  if (!(error instanceof EngineError) || error.status === undefined) {
    return new GatewayError('START_FAILED', said, { server, cause: error });
  }
  const advice = adviseOn(said, spec);
  const why = advice === undefined ? said : `${advice}; the engine said: ${said}`;
  const message = `could not start a container of image ${spec.image}: ${why}`;
  return new GatewayError('START_FAILED', message, { server, cause: error });
}

function adviseOn(said: string, spec: DockerSpec): string | undefined {
  const { network, command, init = true, user, image } = spec;
  if (
    network !== undefined &&
    /network/i.test(said) &&
    /not found|unable to find|no such network|could not find/i.test(said)
  ) {
    return `the network "${network}" does not exist; make it (docker network create ${network}) or change network`;
  }
  if (/bind source path does not exist|statfs .*no such file|bind mount.*no such file/i.test(said)) {
    return 'the source of a volume does not exist on the machine of the engine; create it or change volumes';
  }
  if (init && /docker-init|catatonit|init binary|lookup init/i.test(said)) {
    return 'the engine has no init to run; install it (docker-init, catatonit) or set init: false';
  }
  if (user !== undefined && /unable to find (?:user|group)|no matching entries|unknown user/i.test(said)) {
    return `the image knows no user "${user}"; change user, or write it as numbers`;
  }
  if (/no space left on device/i.test(said)) {
    return 'the disk of the engine is full; free some space (docker system prune)';
  }
  if (/no such image/i.test(said)) {
    return `the engine does not have the image; pull it (docker pull ${image}) or change pull`;
  }
  if (/no command specified/i.test(said)) {
    return 'the image does not say what to run; give command';
  }
  if (/exec|entrypoint|command/i.test(said)) {
    return explainProgram(said, command)?.advice;
  }
  return undefined;
}
