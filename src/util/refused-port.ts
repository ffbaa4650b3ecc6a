import { causesOf } from './causes.js';

/** Why fetch() has refused the port of a URL, where it has: there are some that browsers go to for nobody. */
export function refusedPort(error: unknown, { port }: URL): string | undefined {
  return causesOf(error).some(({ message }) => message === 'bad port')
    ? `fetch() refuses port ${port}, as browsers do; use another port`
    : undefined;
}
