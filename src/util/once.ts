/** Makes `run` happen once; every caller gets the same promise, also one that `run` itself has call back. */
export function once<T>(run: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => {
    if (result === undefined) {
      const { promise, resolve } = Promise.withResolvers<T>();
      result = promise;
      resolve(run());
    }
    return result;
  };
}
