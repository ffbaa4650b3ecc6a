// What fast-check prints of a property that fails is repeated like every other seed.
if (process.env.TEST_SEED !== undefined) {
  const { default: fc } = await import('fast-check');
  fc.configureGlobal({ seed: Number(process.env.TEST_SEED) });
}

export {};
