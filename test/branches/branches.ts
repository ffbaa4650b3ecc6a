import ts from 'typescript';

/** A way that the code can take. */
export interface Branch {
  /** What makes it taken: that this place was reached. */
  readonly at: number;
  /** For a way without code of its own, such as an `if` without `else`: taken when this was reached more often than `at`. */
  readonly insteadOf?: number;
  readonly line: number;
  readonly what: string;
}

/**
 * Every branch of a source: ways of conditions, cases, and `catch`.
 *
 * @param strict - functions too, and the way on which the right side of `&&`, `||` and `??` is not looked at
 */
export function findBranches(text: string, file: string, strict: boolean): Branch[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const branches: Branch[] = [];
  const add = (node: ts.Node, what: string, insteadOf?: ts.Node) => {
    const at = node.getStart(source);
    const line = source.getLineAndCharacterOfPosition((insteadOf ?? node).getStart(source)).line + 1;
    branches.push({ at, line, what, ...(insteadOf !== undefined && { insteadOf: insteadOf.getStart(source) }) });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isIfStatement(node)) {
      add(node.thenStatement, 'if');
      if (node.elseStatement !== undefined) add(node.elseStatement, 'else');
      else add(node.thenStatement, 'no else', node);
    } else if (ts.isConditionalExpression(node)) {
      add(node.whenTrue, '?');
      add(node.whenFalse, ':');
    } else if (ts.isBinaryExpression(node) && isLogical(node.operatorToken.kind)) {
      add(node.right, `after ${node.operatorToken.getText(source)}`);
      if (strict) add(node.right, `not after ${node.operatorToken.getText(source)}`, node.left);
    } else if (ts.isCaseOrDefaultClause(node)) {
      if (node.statements[0] !== undefined) add(node.statements[0], 'case');
    } else if (ts.isCatchClause(node)) {
      add(node.block, 'catch');
    } else if (strict && ts.isFunctionLike(node) && 'body' in node && node.body !== undefined) {
      add(node.body as ts.Node, 'function');
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return branches;
}

function isLogical(kind: ts.SyntaxKind): boolean {
  return (
    kind === ts.SyntaxKind.AmpersandAmpersandToken ||
    kind === ts.SyntaxKind.BarBarToken ||
    kind === ts.SyntaxKind.QuestionQuestionToken
  );
}
