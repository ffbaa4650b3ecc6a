// #region convert
import type { ServerInput } from 'open-mcp-gateway';

/** What is read of a server in a catalog of Docker MCP Gateway. */
interface DockerServer {
  readonly type?: string;
  readonly title?: string;
  readonly description?: string;
  readonly image?: string;
  readonly command?: readonly string[];
  readonly user?: string;
  readonly volumes?: readonly string[];
  readonly disableNetwork?: boolean;
  readonly env?: readonly { readonly name: string; readonly value: string }[];
  readonly secrets?: readonly { readonly name: string; readonly env: string }[];
  readonly remote?: {
    readonly url: string;
    readonly transport_type?: string;
    readonly headers?: Record<string, string>;
  };
  readonly sseEndpoint?: string;
}

/** The entry of a catalog for the server that stands under `id` in the `registry` of theirs. */
export function fromDockerMcp(id: string, server: DockerServer): ServerInput {
  const about = {
    id,
    ...(server.title && { display_name: server.title }),
    ...(server.description && { description: server.description }),
  };
  const { url = server.sseEndpoint, transport_type, headers } = server.remote ?? {};
  if (url !== undefined) {
    const transport = server.remote === undefined ? 'sse' : transport_type;
    return {
      ...about,
      runtime: { type: 'remote-sse', url, ...(headers && { headers }), ...(transport && { transport }) },
    };
  }
  if (server.image === undefined) {
    throw new Error(`${id}: a server of type ${server.type} is neither an image nor an address; write it by hand`);
  }
  const env = Object.fromEntries([
    ...(server.env ?? []).map(({ name, value }) => [name, toVariables(value)]),
    ...(server.secrets ?? []).map(({ env }) => [env, `\${${env}}`]),
  ]);
  return {
    ...about,
    ...(Object.keys(env).length > 0 && { env }),
    runtime: {
      type: 'docker',
      image: server.image,
      ...(server.command && { args: server.command.map(toVariables) }),
      ...(server.volumes && { volumes: server.volumes.map(toVariables) }),
      ...(server.user && { user: toVariables(server.user) }),
      ...(server.disableNetwork && { network: 'none' }),
      memory: '2g', // what Docker MCP Gateway gives where nothing else is said
    },
  };
}

/** `{{notes.mode}}`, a value of their `config.yaml`, becomes the variable `${NOTES_MODE}`. */
function toVariables(text: string): string {
  return text.replaceAll(/\{\{([^{}]*)\}\}/g, (template, name: string) => {
    if (!/^[\w.-]+$/.test(name)) throw new Error(`${template} makes several values of one; write them by hand`);
    return `\${${name.toUpperCase().replaceAll(/[.-]/g, '_')}}`;
  });
}
// #endregion convert
