import ts from 'typescript';

/** A small change of a source that some test has to notice. */
export interface Mutant {
  readonly start: number;
  readonly end: number;
  readonly text: string;
  readonly line: number;
  readonly what: string;
}

const swapped: Readonly<Partial<Record<ts.SyntaxKind, string>>> = {
  [ts.SyntaxKind.LessThanToken]: '<=',
  [ts.SyntaxKind.LessThanEqualsToken]: '<',
  [ts.SyntaxKind.GreaterThanToken]: '>=',
  [ts.SyntaxKind.GreaterThanEqualsToken]: '>',
  [ts.SyntaxKind.EqualsEqualsEqualsToken]: '!==',
  [ts.SyntaxKind.ExclamationEqualsEqualsToken]: '===',
  [ts.SyntaxKind.AmpersandAmpersandToken]: '||',
  [ts.SyntaxKind.BarBarToken]: '&&',
  [ts.SyntaxKind.QuestionQuestionToken]: '&&',
  [ts.SyntaxKind.PlusToken]: '-',
  [ts.SyntaxKind.MinusToken]: '+',
  [ts.SyntaxKind.AsteriskToken]: '/',
  [ts.SyntaxKind.PlusEqualsToken]: '-=',
  [ts.SyntaxKind.MinusEqualsToken]: '+=',
  [ts.SyntaxKind.QuestionQuestionEqualsToken]: '=',
};

/** All mutants of a source: of conditions, operators, literals, and statements and returned values that are left out. */
export function findMutants(text: string, file: string): Mutant[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const mutants: Mutant[] = [];
  const add = (node: ts.Node, replacement: string, what = `${node.getText(source)} → ${replacement}`) => {
    const start = node.getStart(source);
    const line = source.getLineAndCharacterOfPosition(start).line + 1;
    mutants.push({
      start,
      end: node.getEnd(),
      text: replacement,
      line,
      what: what.replaceAll(/\s+/g, ' ').slice(0, 100),
    });
  };
  const condition = (node: ts.Expression) => {
    add(node, 'true');
    add(node, 'false');
  };
  const visit = (node: ts.Node): void => {
    // Types are gone when it runs, and how a message is worded is for people.
    if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) return;
    if (ts.isImportDeclaration(node) || (ts.isNewExpression(node) && /Error$/.test(node.expression.getText(source))))
      return;
    if (ts.isIfStatement(node) || ts.isWhileStatement(node)) condition(node.expression);
    else if (ts.isForStatement(node) && node.condition !== undefined) add(node.condition, 'false');
    else if (ts.isConditionalExpression(node)) condition(node.condition);
    else if (ts.isBinaryExpression(node)) {
      const other = swapped[node.operatorToken.kind];
      if (other !== undefined) add(node.operatorToken, other, `${node.getText(source)}: ${other}`);
    } else if (ts.isPrefixUnaryExpression(node) && node.operator === ts.SyntaxKind.ExclamationToken) {
      add(node, node.operand.getText(source));
    } else if (ts.isExpressionStatement(node) && !/^super\b/.test(node.getText(source))) {
      add(node, ';', `without ${node.getText(source)}`);
    } else if (ts.isReturnStatement(node) && node.expression !== undefined && !isEmpty(node.expression)) {
      add(node.expression, 'undefined', `return undefined, not ${node.expression.getText(source)}`);
    } else if (node.kind === ts.SyntaxKind.TrueKeyword) add(node, 'false');
    else if (node.kind === ts.SyntaxKind.FalseKeyword) add(node, 'true');
    else if (ts.isNumericLiteral(node)) add(node, `(${node.getText(source)} + 1)`);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return mutants;
}

function isEmpty(node: ts.Expression): boolean {
  return ts.isIdentifier(node) && node.text === 'undefined';
}
