/** Makes `run` happen once; every caller gets the same promise, also one that `run` itself has call back. */
export function once<T>(run: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => {
    if (result === undefined) {
      const { promise, resolve, reject } = Promise.withResolvers<T>();
      result = promise;
      try {
        resolve(run());
      } catch (error) {
        // What somebody else has written may throw before it returns a promise.
        reject(error);
      }
    }
    return result;
  };
}
