const capabilities: Readonly<Record<string, string>> = {
  'sampling/createMessage': 'sampling',
  'elicitation/create': 'elicitation',
  'roots/list': 'roots',
};

/** Whether a server may send this request: only what the client has declared to be able to answer. */
export function isDeclared(declared: Readonly<Record<string, unknown>> | undefined, method: string): boolean {
  const needed = method.startsWith('tasks/') ? 'tasks' : Object.hasOwn(capabilities, method) && capabilities[method];
  return !needed || declared?.[needed] !== undefined;
}
