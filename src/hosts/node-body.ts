import type { IncomingMessage, ServerResponse } from 'node:http';
import { GatewayError } from '../errors.js';
import { type ParsedJson, parseJson } from '../transport/message-json.js';
import { PiecedBytes } from '../transport/pieced-bytes.js';
import { withoutMark } from '../util/without-mark.js';
import { giveUp } from './node/queued-responses.js';
import { bodyRefusals, type Refusal } from './refusal.js';
import type { BodyLimits } from './session-options.js';

/** Reads a body at once: for a transport that is handed the JSON this is a good part of the way from the socket. */
export function readBody(
  request: IncomingMessage,
  { maxBodyBytes, bodyTimeoutMs, clock }: BodyLimits,
): Promise<ParsedJson> {
  return new Promise((resolve, reject) => {
    if (Number(request.headers['content-length']) > maxBodyBytes) {
      reject(bodyRefusals.tooLarge(maxBodyBytes));
      return;
    }
    if (request.readableEnded) {
      const text = 'the host has read the body of the request: hand it to handle() as the third argument';
      reject(new GatewayError('OPTION_INVALID', text));
      return;
    }
    if (request.destroyed) {
      reject(bodyRefusals.cutOff());
      return;
    }
    const chunks: Buffer[] = [];
    let size = 0;
    const timer = clock.setTimeout(() => settle(() => reject(bodyRefusals.tooLate())), bodyTimeoutMs);
    const settle = (outcome: () => void) => {
      clock.clearTimeout(timer);
      request.off('data', take).off('end', finish).off('close', gone);
      outcome();
    };
    const take = (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxBodyBytes) {
        settle(() => reject(bodyRefusals.tooLarge(maxBodyBytes)));
      } else {
        chunks.push(chunk);
      }
    };
    const finish = () =>
      settle(() => {
        try {
          const bytes = new PiecedBytes(chunks);
          const text = bytes.all.toString();
          const json = withoutMark(text);
          resolve(parseJson(json, json === text ? bytes : undefined));
        } catch {
          reject(bodyRefusals.notJson());
        }
      });
    const gone = () => settle(() => reject(bodyRefusals.cutOff()));
    request.on('data', take).on('end', finish).on('close', gone);
  });
}

/** Answers a request that no session gets. */
export function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  refusal: Refusal,
  { bodyTimeoutMs, clock }: BodyLimits,
): void {
  if (response.headersSent || response.destroyed) {
    giveUp(response);
    return;
  }
  const body = Buffer.from(refusal.body);
  response.writeHead(refusal.status, { ...refusal.headers, 'content-length': body.length });
  if (request.complete || refusal.reason === 'body-timeout') {
    response.end(body);
    return;
  }
  // The rest of the body may come and go for a while: many clients look at the answer only after they have written
  // everything, and a connection that is closed before would hide it from them.
  response.write(body);
  const timer = clock.setTimeout(() => giveUp(response), bodyTimeoutMs);
  request.once('end', () => response.end());
  response.once('close', () => clock.clearTimeout(timer));
  request.resume();
}
