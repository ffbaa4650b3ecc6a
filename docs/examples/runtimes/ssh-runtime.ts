import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { GatewayError, LocalProcessRuntime, type RuntimeContext, type RuntimeFactory } from 'open-mcp-gateway';
import * as z from 'zod';

const run = promisify(execFile);

const sshSpec = z.strictObject({
  host: z.string().regex(/^[^-\s]\S*$/, 'must be a host name, and not an option'),
  command: z.string(),
  args: z.array(z.string()).optional(),
  port: z.int().min(1).max(65535).optional(),
  user: z
    .string()
    .regex(/^[^-\s]\S*$/)
    .optional(),
  identity_file: z.string().optional(),
  known_hosts: z.string().optional(),
});
type SshSpec = z.infer<typeof sshSpec>;

/** Runs servers on other machines, by the user's own `ssh`. */
export class SshRuntime implements RuntimeFactory<SshSpec> {
  readonly type = 'ssh';
  readonly spec = sshSpec;
  // `ssh` passes no environment on without the other machine's consent. A signal there is a code here.
  readonly supports = { env: false, starts: false };
  readonly #processes = new LocalProcessRuntime();

  /** Asks the other machine whether it has the command. */
  async check(spec: SshSpec, { signal }: RuntimeContext) {
    signal.throwIfAborted();
    try {
      await run('ssh', toArguments(spec, `command -v ${quote(spec.command)}`), { signal });
      return { ok: true, problems: [] };
    } catch (error) {
      signal.throwIfAborted();
      const { stderr, message } = error as { stderr?: string; message: string };
      const reason = stderr === '' ? 'there is no such command' : (stderr ?? message);
      return { ok: false, problems: [`${spec.command} on ${spec.host}: ${reason.trim()}`] };
    }
  }

  describe(spec: SshSpec) {
    return { argv: ['ssh', ...toArguments(spec, toCommandLine(spec))] };
  }

  async open(spec: SshSpec, context: RuntimeContext) {
    const { problems } = await this.check(spec, context);
    if (problems[0] !== undefined) throw new GatewayError('START_FAILED', problems[0], { server: context.server });
    // The end of the connection ends the server's input, and by that the server.
    return this.#processes.open({ command: 'ssh', args: toArguments(spec, toCommandLine(spec)) }, context);
  }

  close() {
    return this.#processes.close();
  }
}

function toArguments({ host, port, user, identity_file, known_hosts }: SshSpec, commandLine: string): string[] {
  const options = {
    BatchMode: 'yes', // ask nobody for a password
    StrictHostKeyChecking: 'yes',
    IdentitiesOnly: identity_file === undefined ? undefined : 'yes',
    UserKnownHostsFile: known_hosts,
  };
  return [
    '-T',
    ...Object.entries(options).flatMap(([name, value]) => (value === undefined ? [] : ['-o', `${name}=${value}`])),
    ...(port === undefined ? [] : ['-p', String(port)]),
    ...(user === undefined ? [] : ['-l', user]),
    ...(identity_file === undefined ? [] : ['-i', identity_file]),
    '--',
    host,
    commandLine,
  ];
}

/**
 * Runs on the other machine. A server that ignores the end of its input would outlive the connection: a watcher ends it
 * when the SSH server's process for this connection is gone. As a child of a shell it has an exit code, whatever ends it.
 */
const guard = `
exec 3<&0
"$@" <&3 3<&- & server=$!
exec 3<&-
( while kill -0 $server && kill -0 $PPID; do sleep 1; done
  kill $server && sleep 3 && kill -9 $server
) </dev/null >/dev/null 2>&1 &
wait $server`;

function toCommandLine({ command, args = [] }: SshSpec): string {
  return ['sh', '-c', guard, 'sh', command, ...args].map(quote).join(' ');
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
