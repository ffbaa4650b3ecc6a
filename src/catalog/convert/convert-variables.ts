import { quote } from '../../checks/path.js';

const variable = /^[A-Za-z_][A-Za-z0-9_]*(?::-.*)?$/s;
// Editors fill these in; they would pass for environment variables.
const ofEditors = ['workspaceFolder', 'workspaceFolderBasename', 'userHome', 'pathSeparator'];

/** Does a text hold a `$NAME`, which some programs replace, and others and a catalog do not? */
export function holdsBareVariable(text: string): boolean {
  return partsOf(text).some((part, index) => index % 2 === 0 && /\$[A-Za-z_]/.test(part));
}

/** Turns the `${…}` of other programs into those of a catalog. */
export function convertVariables(
  text: string,
  variables: Readonly<Record<string, string>>,
): { readonly text: string; readonly problem?: string } {
  if (text.includes('$${')) {
    return { text, problem: 'holds "$${", which a catalog reads as a plain "${": write the entry in a catalog' };
  }
  let problem: string | undefined;
  let converted = '';
  // What stands before the next variable: values run into each other, and into the text around them.
  let literal = '';
  const withVariable = (body: string) => {
    const name = body.startsWith('env:') ? body.slice('env:'.length) : body;
    const isUnknown = !variable.test(name) || ofEditors.includes(name);
    if (isUnknown || literal.endsWith('$')) {
      const why = isUnknown ? '' : ', as a "$" stands before it';
      problem ??= `needs a value for ${quote(body)}${why}: give it in the option "variables"`;
    }
    converted += `${escaped(literal)}\${${name}}`;
    literal = '';
  };
  for (const [index, part] of partsOf(text).entries()) {
    if (index % 2 === 0) literal += part;
    else if (Object.hasOwn(variables, part)) literal += variables[part];
    else withVariable(part);
  }
  converted += escaped(literal);
  return problem === undefined ? { text: converted } : { text, problem };
}

/** Plain text and what stands between the braces of a `${…}`, in turn. */
function partsOf(text: string): readonly string[] {
  const parts: string[] = [];
  let from = 0;
  for (let start = text.indexOf('${'); start !== -1; start = text.indexOf('${', from)) {
    const end = text.indexOf('}', start);
    if (end === -1) {
      // Not by a pattern, which would look for it again from each of them.
      break;
    }
    parts.push(text.slice(from, start), text.slice(start + 2, end));
    from = end + 1;
  }
  return [...parts, text.slice(from)];
}

function escaped(literal: string): string {
  return literal.replaceAll('${', () => '$${');
}
