import { readFileSync } from 'node:fs';
import ts from 'typescript';

/** What the comment of a member says, and the members of its own type where that is declared in the same file. */
export interface Comment {
  readonly description: string;
  readonly default: string | undefined;
  readonly members: Comments;
}
export type Comments = ReadonlyMap<string, Comment>;

/** The comments of an interface of `src`, by member. */
export function readComments(path: string, name: string): Comments {
  const text = readFileSync(new URL(`../../src/${path}`, import.meta.url), 'utf8');
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const interfaces = new Map(file.statements.filter(ts.isInterfaceDeclaration).map((node) => [node.name.text, node]));

  const commentsOf = (members: Iterable<ts.TypeElement>): Comments => {
    const comments = new Map<string, Comment>();
    for (const member of members) {
      if (ts.isPropertySignature(member) && member.type !== undefined) {
        comments.set(member.name.getText(), { ...commentOf(member), members: commentsOf(nested(member.type)) });
      }
    }
    return comments;
  };
  const nested = (type: ts.Node): ts.TypeElement[] => {
    if (ts.isTypeLiteralNode(type)) return [...type.members];
    if (ts.isTypeReferenceNode(type) && ts.isIdentifier(type.typeName)) {
      const declared = interfaces.get(type.typeName.text);
      if (declared !== undefined) return [...declared.members];
    }
    const found: ts.TypeElement[] = [];
    ts.forEachChild(type, (child) => {
      found.push(...nested(child));
    });
    return found;
  };

  const declared = interfaces.get(name);
  if (declared === undefined) throw new Error(`src/${path} declares no interface ${name}`);
  return commentsOf(declared.members);
}

function commentOf(member: ts.PropertySignature): { description: string; default: string | undefined } {
  const [comment] = ts.getJSDocCommentsAndTags(member).filter(ts.isJSDoc);
  const plain = (text: string | ts.NodeArray<ts.JSDocComment> | undefined) =>
    (ts.getTextOfJSDocComment(text) ?? '')
      .replaceAll(/\s*\n\s*/g, ' ')
      .replaceAll(/\\([{}])/g, '$1')
      .trim();
  const tag = comment?.tags?.find(({ tagName }) => tagName.text === 'default');
  return { description: plain(comment?.comment), default: tag && plain(tag.comment) };
}
