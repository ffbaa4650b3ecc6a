import { metaKeys, modernRevision } from '../../transport/modern.js';
import { runsToolTasks, tasksExtension } from '../../transport/tasks.js';
import { type Fields, isFields } from '../../util/fields.js';
import { version } from '../../version.js';

const info = { name: 'open-mcp-gateway', version };

/** What may be kept by whom, for results that nobody has said it of: nothing, by nobody else. */
const uncached = { ttlMs: 0, cacheScope: 'private' } as const;
const cacheable: ReadonlySet<string> = new Set([
  'server/discover',
  'tools/list',
  'prompts/list',
  'resources/list',
  'resources/templates/list',
  'resources/read',
]);

/** A result as the stateless era writes it, from one of either era. */
export function toModernResult(method: string, result: Fields): Record<string, unknown> {
  const meta = isFields(result._meta) ? result._meta : undefined;
  return {
    ...toComplete(method, result),
    _meta: meta?.[metaKeys.serverInfo] === undefined ? { ...meta, [metaKeys.serverInfo]: { ...info } } : meta,
  };
}

/** A result with what clients of the stateless era refuse it without. */
export function toComplete(method: string, result: Fields): Record<string, unknown> {
  const type = typeof result.resultType === 'string' ? result.resultType : 'complete';
  const needed = method === 'tools/call' ? { content: [] } : cacheable.has(method) && uncached;
  return { ...(type === 'complete' && needed), ...result, resultType: type };
}

/** A result that others may get another one of: no cache is to give it to them. */
export function toPrivate(result: Fields): Fields {
  return result.cacheScope === 'public' ? { ...result, cacheScope: 'private' } : result;
}

/** Tools without what the stateless era has no word for. */
export function toModernTools(tools: unknown): unknown {
  return Array.isArray(tools)
    ? tools.map((tool: unknown) => {
        if (!isFields(tool) || tool.execution === undefined) {
          return tool;
        }
        const { execution: _, ...rest } = tool;
        return rest;
      })
    : tools;
}

/** The answer to `server/discover`, from the one to `initialize`. */
export function toDiscovery(initialized: Fields, declared: Fields): Record<string, unknown> {
  const { instructions, serverInfo } = initialized;
  // No answer to `initialize` is let through without.
  const own = initialized.capabilities as Fields;
  const { tasks: _, extensions, ...rest } = own;
  const wanted = isFields(declared.extensions) ? declared.extensions : {};
  // A server with sessions may run tools as tasks, and so may one that nobody has asked yet.
  const offered = { ...(runsToolTasks(own) && { [tasksExtension]: {} }), ...(isFields(extensions) && extensions) };
  // Of extensions, those that both sides have.
  const common = Object.entries(offered).filter(([name]) => name in wanted);
  return {
    supportedVersions: [modernRevision],
    capabilities: { ...rest, ...(common.length > 0 && { extensions: Object.fromEntries(common) }) },
    ...(instructions !== undefined && { instructions }),
    ...(isFields(serverInfo) && { _meta: { [metaKeys.serverInfo]: serverInfo } }),
  };
}
