import { readFileSync } from 'node:fs';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { nextPhases, PhaseMachine } from '../../src/instance/phase-machine.js';
import { findBlocks, tableBelow } from './markdown.js';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

describe('the diagram of phases in docs/concepts.md', () => {
  const [diagram, ...more] = findBlocks(read('docs/concepts.md')).filter(({ language }) => language === 'mermaid');
  const { edges, rest } = parseStates(diagram?.text ?? '');

  test('is one, and holds nothing but steps', () => {
    expect(more).toEqual([]);
    expect(rest).toEqual(['stateDiagram-v2']);
  });

  test('shows each step that an instance can take, once, and no other', () => {
    const steps = Object.entries(nextPhases).flatMap(([from, phases]) => phases.map((to) => `${from} → ${to}`));
    expect(edges.filter((edge) => !edge.startsWith('[*]')).sort()).toEqual(steps.sort());
  });

  test('begins where an instance begins', () => {
    expect(edges.filter((edge) => edge.startsWith('[*]'))).toEqual([
      `[*] → ${new PhaseMachine({ onTransition() {} }).phase}`,
    ]);
  });
});

describe('the table of phases in docs/concepts.md', () => {
  test('has a line for each phase', () => {
    const rows = tableBelow(read('docs/concepts.md'), 'Phases').map(([phase]) => phase);
    expect(rows).toEqual(expect.arrayContaining(Object.keys(nextPhases).map((phase) => `\`${phase}\``)));
    expect(rows).toHaveLength(Object.keys(nextPhases).length);
  });
});

describe('the table of events in docs/supervision.md', () => {
  const rows = tableBelow(read('docs/supervision.md'), 'Events');

  test('has a line for each event, with its members, and no other', () => {
    const shown = rows.map(([type = '', members = '']) => ({
      type: type.replaceAll('`', ''),
      members: members.split(', ').map((member) => member.replaceAll('`', '')),
    }));
    const events = readEvents(read('src/events.ts'));
    expect(events.length).toBeGreaterThan(0);
    expect(shown).toEqual(events);
  });

  test('says when each of them comes', () => {
    expect(rows.filter(([, , when]) => when === undefined || !/^\S.*\.$/.test(when))).toEqual([]);
  });
});

test('a diagram that lacks a step, or has one too many, is seen', () => {
  const { edges } = parseStates('stateDiagram-v2\n  state "crash-loop" as crash_loop\n  ready --> crash_loop');
  expect(edges).toEqual(['ready → crash-loop']);
});

/** The edges of a Mermaid state diagram, and the lines that are none. */
function parseStates(diagram: string): { edges: string[]; rest: string[] } {
  const names = new Map<string, string>();
  const edges: string[] = [];
  const rest: string[] = [];
  for (const line of diagram.split('\n').map((text) => text.trim())) {
    const [, name, alias] = /^state "([^"]+)" as (\w+)$/.exec(line) ?? [];
    const [, from, to] = /^(\S+) --> (\S+)$/.exec(line) ?? [];
    if (name !== undefined && alias !== undefined) {
      names.set(alias, name);
    } else if (from !== undefined && to !== undefined) {
      edges.push(`${names.get(from) ?? from} → ${names.get(to) ?? to}`);
    } else {
      rest.push(line);
    }
  }
  return { edges, rest };
}

/** The members of the union `GatewayEvent`, in order: each with its `type` and its other members. */
function readEvents(source: string): { type: string; members: string[] }[] {
  const file = ts.createSourceFile('events.ts', source, ts.ScriptTarget.Latest, true);
  const interfaces = new Map<string, ts.InterfaceDeclaration>();
  let union: readonly ts.TypeNode[] = [];
  for (const statement of file.statements) {
    if (ts.isInterfaceDeclaration(statement)) {
      interfaces.set(statement.name.text, statement);
    } else if (ts.isTypeAliasDeclaration(statement) && statement.name.text === 'GatewayEvent') {
      union = ts.isUnionTypeNode(statement.type) ? statement.type.types : [statement.type];
    }
  }
  return union.map((member) => {
    const members = interfaces.get(member.getText())?.members.filter(ts.isPropertySignature) ?? [];
    const type = members.find(({ name }) => name.getText() === 'type')?.type?.getText() ?? '';
    const others = members.filter(({ name }) => name.getText() !== 'type');
    return {
      type: type.replaceAll("'", ''),
      members: others.map(({ name, questionToken }) => `${name.getText()}${questionToken === undefined ? '' : '?'}`),
    };
  });
}
