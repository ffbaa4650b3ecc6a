import type { RpcError } from '../../instance/exchanges.js';
import { findMirrored, type MirroredArgument, toHeaderText } from '../../transport/http/mirrored-arguments.js';
import type { ListItem } from '../list-kinds.js';
import { checkHeader } from './header-check.js';

const decimal = /^-?\d+(\.\d+)?$/;

/** What the tools of one caller's servers ask for in headers, as far as their lists have been seen. */
export class MirroredTools {
  readonly #servers = new Map<string, ReadonlyMap<unknown, readonly MirroredArgument[]>>();

  /** Takes a server's list of tools. */
  learn(server: string, tools: readonly ListItem[]): void {
    const found = tools.map(({ name, inputSchema }) => [name, findMirrored(inputSchema)] as const);
    this.#servers.set(server, new Map(found.filter(([, mirrored]) => mirrored.length > 0)));
  }

  /** A server may have other tools now. */
  forget(server: string): void {
    this.#servers.delete(server);
  }

  knows(server: string): boolean {
    return this.#servers.has(server);
  }

  of(server: string, tool: string): readonly MirroredArgument[] {
    return this.#servers.get(server)?.get(tool) ?? [];
  }
}

/** Compares the headers `Mcp-Param-*` of a call with its arguments. An argument that is not there needs no header. */
export function checkParamHeaders(
  mirrored: readonly MirroredArgument[],
  given: unknown,
  headers: Headers,
): RpcError | undefined {
  for (const argument of mirrored) {
    const expected = toHeaderText(given, argument);
    const isRight = (value: string | undefined) => expected === undefined || isSame(argument, value, expected);
    const mismatch = checkHeader(headers, `Mcp-Param-${argument.header}`, isRight);
    if (mismatch !== undefined) {
      return mismatch;
    }
  }
  return undefined;
}

/** Integers are compared as numbers: a client may write them as it likes. */
function isSame({ isInteger }: MirroredArgument, value: string | undefined, expected: string): boolean {
  return (
    value === expected ||
    (isInteger && value !== undefined && decimal.test(value) && Number(value) === Number(expected))
  );
}
