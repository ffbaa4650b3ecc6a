/**
 * Settles like `work`, and keeps this process alive until then: the timers of a clock let it end, and with them whoever waits.
 * For what a caller waits for, such as a start that is put off.
 */
export async function heldOpen<T>(work: Promise<T>): Promise<T> {
  const hold = setInterval(() => {}, 60_000);
  try {
    return await work;
  } finally {
    clearInterval(hold);
  }
}
