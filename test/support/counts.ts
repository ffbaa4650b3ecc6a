/** The full counts of the long form (`npm run test:long`), or few enough for every day. */
export function count<T>(short: T, long: T): T {
  return process.env.TEST_LONG === '1' ? long : short;
}
