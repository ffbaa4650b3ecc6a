import { brotliCompressSync, gzipSync } from 'node:zlib';
import type { Chance } from '../../gateway/model/chance.js';
import { cut, type Exchange, writeInPieces } from './host.js';

interface JsonOptions {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  readonly isCut?: boolean;
  readonly mayPack?: boolean;
}

const encodings = { gzip: gzipSync, br: brotliCompressSync } as const;

/** Answers with JSON: in pieces, compressed, cut off. */
export async function sendJson(
  exchange: Exchange,
  value: unknown,
  chance: Chance,
  { status = 200, headers = {}, isCut = false, mayPack = false }: JsonOptions = {},
): Promise<void> {
  const { request, response } = exchange;
  const text = Buffer.from(JSON.stringify(value));
  const asked = String(request.headers['accept-encoding']);
  const encoding = chance.pick((['gzip', 'br'] as const).filter((name) => asked.includes(name)));
  // Threads unpack it, for which time that stands still does not wait: so never what has to work.
  const encoded = mayPack && chance.oneIn(2) ? encoding : undefined;
  const body = encoded === undefined ? text : encodings[encoded](text);
  response.writeHead(status, {
    'content-type': chance.one(['application/json', 'application/json; charset=utf-8']),
    ...(encoded !== undefined && { 'content-encoding': encoded }),
    ...(chance.oneIn(2) && { 'content-length': body.length }),
    ...headers,
  });
  response.flushHeaders();
  await writeInPieces(exchange, isCut ? body.subarray(0, chance.below(body.length)) : body, chance);
  if (isCut) cut(exchange, chance);
  else response.end();
}
