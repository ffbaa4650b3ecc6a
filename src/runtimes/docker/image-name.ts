/** The parts of the name of an image. */
export interface ImageName {
  /** Where it comes from, as `docker.io` or `registry.example.com:5000`. */
  readonly registry: string;
  /** Registry and path as they were written, without tag and digest: what a pull asks for. */
  readonly repository: string;
  /** The digest if there is one, else the tag: an image without either means `latest`. */
  readonly version: string;
}

const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const label = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
const domain = `(?:${label}(?:\\.${label})*|\\[[0-9a-fA-F:]+\\])(?::[0-9]{1,5})?`;
const pattern = new RegExp(
  `^((?:${domain}/)?${component}(?:/${component})*)(?::(\\w[\\w.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}))?$`,
);
const maxLength = 512;

/** Takes a name such as `mcp/server:1.2` or `ghcr.io/team/server@sha256:…` apart; undefined when it is none. */
export function parseImageName(text: string): ImageName | undefined {
  const match = text.length > maxLength ? null : pattern.exec(text);
  const repository = match?.[1];
  if (repository === undefined) {
    return undefined;
  }
  const slash = repository.indexOf('/');
  const first = slash === -1 ? '' : repository.slice(0, slash);
  // As Docker tells a host from the first folder of a path.
  const hasHost = /[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase();
  return {
    registry: hasHost ? first : 'docker.io',
    repository,
    version: match?.[3] ?? match?.[2] ?? 'latest',
  };
}
