import { quote } from '../issues.js';

const variable = /^[A-Za-z_][A-Za-z0-9_]*(?::-.*)?$/s;
// Editors fill these in; they would pass for environment variables.
const ofEditors = ['workspaceFolder', 'workspaceFolderBasename', 'userHome', 'pathSeparator'];

/** Turns the `${…}` of other programs into those of a catalog. */
export function convertVariables(
  text: string,
  variables: Readonly<Record<string, string>>,
): { readonly text: string; readonly problem?: string } {
  if (text.includes('$${')) {
    return { text, problem: 'holds "$${", which a catalog reads as a plain "${": write the entry in a catalog' };
  }
  let problem: string | undefined;
  const converted = text.replaceAll(/\$\{([^}]*)\}/g, (_whole, body: string) => {
    if (Object.hasOwn(variables, body)) {
      return (variables[body] as string).replaceAll('${', () => '$${');
    }
    const name = body.startsWith('env:') ? body.slice('env:'.length) : body;
    if (!variable.test(name) || ofEditors.includes(name)) {
      problem ??= `needs a value for ${quote(body)}: give it in the option "variables"`;
    }
    return `\${${name}}`;
  });
  return problem === undefined ? { text: converted } : { text, problem };
}
