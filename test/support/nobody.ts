/** Makes this process a user who may not look everywhere, as root may, until it is disposed of. */
export function asNobody(): Disposable {
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.(65_534);
  return {
    [Symbol.dispose]() {
      if (isRoot) process.seteuid?.(0);
    },
  };
}
