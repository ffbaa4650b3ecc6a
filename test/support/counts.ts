/** The full counts of the long form (`npm run test:long`), or few enough for every day. */
export function count(short: number, long: number): number {
  return process.env.TEST_LONG === '1' ? long : short;
}
