import * as v from 'valibot';
import { argsSchema, textSchema } from '../shared/spec-parts.js';
import { parseImageName } from './image-name.js';
import { parseCpus, parseMemory, parsePids } from './quantities.js';
import { findDoubleTarget, findVolumeProblem } from './volumes.js';

// Not by the flag "i": the JSON schema of a catalog has no place for it.
const capability = /^[A-Za-z][A-Za-z_]*$/;
const leastMemoryBytes = 6 * 1024 * 1024;
const memoryProblem = 'is not a size; write it as 512m, 1.5g or 64MiB';

const image = v.pipe(
  v.string(),
  v.check(
    (name) => parseImageName(name) !== undefined,
    'is not the name of an image; write it in lower case as name:tag, registry/name:tag or name@sha256:…',
  ),
);

const containerName = v.pipe(
  v.string(),
  v.regex(
    /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}$/,
    'is not the name of a container: 2 to 128 of a-z, A-Z, 0-9, "_", "." and "-", the first a letter or digit',
  ),
);

const volume = v.pipe(
  v.string(),
  v.rawCheck(({ dataset, addIssue }) => {
    const problem = dataset.typed ? findVolumeProblem(dataset.value) : undefined;
    if (problem !== undefined) {
      addIssue({ message: problem });
    }
  }),
);

const network = v.pipe(
  v.string(),
  v.check(
    (name) => !name.startsWith('container:'),
    'joins the network of another container, which is not supported; name a network',
  ),
  v.check(
    (name) => name.startsWith('container:') || /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name),
    'is not the name of a network',
  ),
);

const memory = v.pipe(
  v.string(({ input }) =>
    typeof input !== 'number' || input < 0
      ? memoryProblem
      : input === 0 || input >= leastMemoryBytes
        ? `must be a string: quote it, as in "${input}"`
        : 'has no unit; write it as 512m, 1.5g or 64MiB',
  ),
  v.check((value) => parseMemory(value) !== undefined, memoryProblem),
  v.check((value) => {
    const bytes = parseMemory(value);
    return bytes === undefined || bytes === 0 || bytes >= leastMemoryBytes;
  }, 'is less than 6m, which no engine takes; raise it, or write "0" for no limit'),
);

const cpus = v.pipe(
  v.union([v.string(), v.number()], 'must be a number of processors, such as 0.5 or 2'),
  v.check((value) => parseCpus(value) !== undefined, 'is not a number of processors; write it as 0.5 or 2'),
  v.check((value) => {
    const nano = parseCpus(value);
    // A thousandth of a second in each tenth of one is the least that the kernel gives.
    return nano === undefined || nano === 0 || nano >= 1e7;
  }, 'is less than 0.01, which no engine takes; raise it, or write 0 for no limit'),
);

const pids = v.pipe(
  v.union([v.string(), v.number()], 'must be a whole number of processes'),
  v.check((value) => parsePids(value) !== undefined, 'is not a whole number of processes'),
);

const tmpfs = v.pipe(
  v.string(),
  v.regex(/^\/[^:]+(?::[\w=,.%]+)?$/, 'must be a path in the container, or one with options: /run:size=16m,mode=1777'),
);

/** The fields of a `docker` runtime in a catalog. */
export const dockerSpec = v.pipe(
  v.strictObject({
    image,
    container_name: v.optional(containerName),
    volumes: v.optional(v.array(volume)),
    network: v.optional(network),
    env_file: v.optional(textSchema),
    command: v.optional(textSchema),
    args: v.optional(argsSchema),
    working_dir: v.optional(v.pipe(v.string(), v.regex(/^\//, 'must be an absolute path in the container'))),
    pull: v.optional(v.picklist(['missing', 'always', 'never'])),
    platform: v.optional(
      v.pipe(v.string(), v.regex(/^[a-z0-9]+(?:\/[a-z0-9_]+){0,2}$/, 'is not a platform; write it as linux/amd64')),
    ),
    user: v.optional(
      v.pipe(v.string(), v.regex(/^[\w.-]+(?::[\w.-]+)?$/, 'is not a user; write it as 1000, 1000:1000 or name')),
    ),
    cpus: v.optional(cpus),
    memory: v.optional(memory),
    pids: v.optional(pids),
    read_only: v.optional(v.boolean()),
    no_new_privileges: v.optional(v.boolean()),
    cap_add: v.optional(
      v.array(v.pipe(v.string(), v.regex(capability, 'is not a capability; write it as NET_BIND_SERVICE'))),
    ),
    tmpfs: v.optional(v.array(tmpfs)),
    init: v.optional(v.boolean()),
    allow_host_control: v.optional(v.boolean()),
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) {
      return;
    }
    const { volumes = [], tmpfs: folders = [] } = dataset.value;
    const twice = findDoubleTarget(volumes, folders);
    if (twice !== undefined) {
      addIssue({ message: `volumes and tmpfs name ${twice} twice; keep one of them` });
    }
  }),
);

/** The runtime's part of a `docker` entry. */
export interface DockerSpec {
  /** The image: `name:tag`, `registry/name:tag` or `name@sha256:…`. */
  readonly image: string;
  /**
   * The container's name. A second session of the entry gets a suffix, as in `name-2`.
   *
   * @default a name of its own for each
   */
  readonly container_name?: string | undefined;
  /**
   * `source:/path` or `source:/path:mode`, where the source is a path (relative ones start at the catalog's folder) or
   * the name of a volume, and the mode `ro`, `rw`, `z`, `Z`, `nocopy` or a propagation; or `/path` alone for a volume that
   * goes with the container.
   */
  readonly volumes?: readonly string[] | undefined;
  /**
   * An existing network, or `none` or `host`.
   *
   * @default the engine's default bridge
   */
  readonly network?: string | undefined;
  /** A file of variables by the rules of `docker run --env-file`; the entry's `env` wins over it. */
  readonly env_file?: string | undefined;
  /**
   * The program, in place of the image's entry point.
   *
   * @default what the image says
   */
  readonly command?: string | undefined;
  /**
   * Its arguments. Without a `command` an empty list is as none.
   *
   * @default what the image says; none with a `command`
   */
  readonly args?: readonly string[] | undefined;
  /** Where it runs, an absolute path in the container. */
  readonly working_dir?: string | undefined;
  /**
   * When to pull the image.
   *
   * @default 'missing'
   */
  readonly pull?: 'missing' | 'always' | 'never' | undefined;
  /** As `linux/amd64`, for an image that has several. */
  readonly platform?: string | undefined;
  /**
   * Whom it runs as: `1000`, `1000:1000` or a name of the image.
   *
   * @default what the image says
   */
  readonly user?: string | undefined;
  /**
   * How many processors, such as `0.5`; 0 is no limit.
   *
   * @default 1
   */
  readonly cpus?: string | number | undefined;
  /**
   * How much memory, such as `512m`, swap included; `"0"` is no limit.
   *
   * @default '512m'
   */
  readonly memory?: string | undefined;
  /**
   * How many processes and threads; 0 is no limit.
   *
   * @default 256
   */
  readonly pids?: string | number | undefined;
  /**
   * Whether the image's file system cannot be written to. It then has a writable `/tmp` of 64 MiB in memory.
   *
   * @default true
   */
  readonly read_only?: boolean | undefined;
  /**
   * Whether programs cannot gain rights by setuid files.
   *
   * @default true
   */
  readonly no_new_privileges?: boolean | undefined;
  /**
   * Capabilities, such as `NET_BIND_SERVICE`.
   *
   * @default none, also none of those that Docker gives by itself
   */
  readonly cap_add?: readonly string[] | undefined;
  /** Writable folders in memory: `/run` or `/run:size=16m,mode=1777`. */
  readonly tmpfs?: readonly string[] | undefined;
  /**
   * Whether a small init is process 1, which passes signals on and clears up after children.
   *
   * @default true
   */
  readonly init?: boolean | undefined;
  /**
   * Whether `volumes` may hold the engine's own socket or the whole root of its machine: who has either is master of the
   * machine.
   *
   * @default false
   */
  readonly allow_host_control?: boolean | undefined;
}
