/** Why fetch() has refused the port of a URL, where it has: there are some that browsers go to for nobody. */
export function refusedPort(error: unknown, { port }: URL): string | undefined {
  for (let depth = 0, at = error; depth < 5 && at instanceof Error; depth++, at = at.cause) {
    if (at.message === 'bad port') {
      return `fetch() refuses port ${port}, as browsers do; use another port`;
    }
  }
  return undefined;
}
