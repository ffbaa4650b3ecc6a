const scales: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
  Ti: 1024 ** 4,
  Pi: 1024 ** 5,
  Ei: 1024 ** 6,
};

/** The number of a Kubernetes quantity such as `500m`, `0.5`, `128Mi` or `1e3`; undefined for anything else. */
export function parseKubernetesQuantity(text: string): number | undefined {
  const match = /^(\d{1,18}(?:\.\d{0,9})?|\.\d{1,9})(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,2}))?$/.exec(text);
  if (match === null) return undefined;
  const scale = match[3] === undefined ? scales[match[2] ?? ''] : 10 ** Number(match[3]);
  return scale === undefined ? undefined : Number(match[1]) * scale;
}

/** What is wrong with the amount of a resource; undefined when nothing is. */
export function findQuantityProblem(resource: string, text: string): string | undefined {
  const amount = parseKubernetesQuantity(text);
  const inBytes = /^(?:memory|ephemeral-storage|hugepages-.*)$/.test(resource);
  if (amount === undefined) {
    const example = inBytes ? '128Mi or 1Gi' : resource === 'cpu' ? '500m or 0.5' : '1';
    return `is not a quantity; write it as ${example}`;
  }
  // A slip that Kubernetes takes as it is written, and then starts nothing.
  if (inBytes && /[num]$/.test(text)) {
    return `means ${amount} bytes; write it as ${text.replace(/[num]$/, 'Mi')}`;
  }
  return undefined;
}
