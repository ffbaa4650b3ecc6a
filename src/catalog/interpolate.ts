import type { Environment } from './catalog.js';

/** What became of one string. */
export interface Interpolated {
  readonly value: string;
  /** What is wrong with it, a sentence each. */
  readonly problems: readonly string[];
  /** Name and value of each variable that was used. */
  readonly used: readonly Variable[];
}

/** A variable that took part in a string. */
export interface Variable {
  readonly name: string;
  readonly value: string;
  /** The value is the default that the catalog gives. */
  readonly isDefault: boolean;
}

/** Stands for variables that are looked up later: each `${…}` stays as it is written. */
export const unresolved: Environment = Object.freeze({});

/**
 * Replaces `${VAR}` and `${VAR:-default}`, and turns `$${` into `${`. What was put in is not looked at again.
 *
 * Takes time in proportion to the text. Without `env` only the form is checked and nothing is replaced.
 */
export function interpolate(text: string, env: Environment | undefined): Interpolated {
  let next = text.indexOf('${');
  if (next === -1) {
    return { value: text, problems: [], used: [] };
  }
  const problems = new Set<string>();
  const used = new Map<string, Variable>();
  let value = '';
  let from = 0;
  for (; next !== -1; next = text.indexOf('${', from)) {
    if (next > from && text[next - 1] === '$') {
      value += `${text.slice(from, next - 1)}\${`;
      from = next + 2;
      continue;
    }
    value += text.slice(from, next);
    const end = text.indexOf('}', next);
    // After one that is malformed nobody knows where the next would begin.
    const found = end === -1 ? 'has a "${" without a "}"' : parseVariable(text.slice(next + 2, end));
    if (typeof found === 'string') {
      problems.add(`${found}; write $\${ for a literal \${`);
      break;
    }
    from = end + 1;
    const variable =
      env === undefined
        ? undefined
        : env === unresolved
          ? { name: found.name, value: text.slice(next, end + 1), isDefault: true }
          : lookUp(found, env);
    if (variable !== undefined) {
      value += variable.value;
      used.set(`${variable.name}${variable.isDefault}`, variable);
    } else if (env !== undefined) {
      const remedy = `set it, or write \${${found.name}:-default}`;
      problems.add(`needs the environment variable ${found.name}, which is not set: ${remedy}`);
    }
  }
  return { value: value + text.slice(from), problems: [...problems], used: [...used.values()] };
}

interface Reference {
  readonly name: string;
  readonly fallback: string | undefined;
}

/** The part between the braces, or what is wrong with it. */
function parseVariable(body: string): Reference | string {
  if (body.includes('${')) {
    return 'has a "${" inside another one';
  }
  const split = body.indexOf(':-');
  const name = split === -1 ? body : body.slice(0, split);
  if (name === '') {
    return 'has a "${}" without a name';
  }
  const [, other] = /^env:([A-Za-z_][A-Za-z0-9_]{0,254})$/.exec(name) ?? [];
  if (other !== undefined) {
    return `has a "\${env:${other}}", which is written \${${other}} here`;
  }
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,254}$/.test(name)) {
    return 'has a "${…}" whose name is not made of letters, digits and "_"';
  }
  return { name, fallback: split === -1 ? undefined : body.slice(split + 2) };
}

function lookUp({ name, fallback }: Reference, env: Environment): Variable | undefined {
  const value = Object.hasOwn(env, name) ? env[name] : undefined;
  // As in a shell, ":-" also steps in for a variable that is set to nothing.
  if (fallback !== undefined && (value === undefined || value === '')) {
    return { name, value: fallback, isDefault: true };
  }
  return value === undefined ? undefined : { name, value: String(value), isDefault: false };
}
