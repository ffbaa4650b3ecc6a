import { type Fields, isFields } from '../../util/fields.js';
import { isCompilable } from './output-schema.js';

/**
 * Tools as revisions with sessions write them. What their tools return is an object, and so says the schema of it: clients
 * refuse a whole list for one tool with a schema of anything else, or with one that they cannot use, which is left out.
 */
export function toSessionTools<T>(tools: readonly T[]): readonly T[] {
  return tools.map((tool) => {
    if (!isFields(tool) || tool.outputSchema === undefined) {
      return tool;
    }
    const { outputSchema, ...rest } = tool as Fields;
    const isReadable = isFields(outputSchema) && outputSchema.type === 'object' && isCompilable(outputSchema);
    return isReadable ? tool : (rest as T);
  });
}

/** The same for a result of `tools/list`, whatever is in it. */
export function toSessionToolsResult(result: Record<string, unknown>): Record<string, unknown> {
  return Array.isArray(result.tools) ? { ...result, tools: toSessionTools(result.tools) } : result;
}

/**
 * A result of the stateless era as revisions with sessions write it, whose structured content is an object. Any other value
 * becomes the `result` of one, as it does where the SDK's own servers meet both eras, and a text where there is none.
 */
export function toSessionResult(result: Record<string, unknown>): Record<string, unknown> {
  const { structuredContent, content } = result;
  if (structuredContent === undefined || isFields(structuredContent)) {
    return result;
  }
  const parts: readonly unknown[] = Array.isArray(content) ? content : [];
  const hasText = parts.some((part) => isFields(part) && part.type === 'text');
  const texts = hasText ? [] : toTexts(structuredContent);
  return { ...result, content: [...parts, ...texts], structuredContent: { result: structuredContent } };
}

/** None of what is nested too deeply to be written, which its caller cannot be sent either. */
function toTexts(value: unknown): readonly Fields[] {
  try {
    return [{ type: 'text', text: JSON.stringify(value) }];
  } catch {
    return [];
  }
}
