import { errorNumbers } from '../../errors.js';
import { isFields } from '../../util/fields.js';
import type { RpcError } from '../exchanges.js';

/**
 * The error of a request that goes on with one which the server has got: where it is ours and says that nothing was delivered,
 * that does not hold for the whole.
 */
export function deliveredBefore(error: RpcError): RpcError {
  const { data } = error;
  const isOurs = isFields(data) && typeof data.code === 'string' && Object.hasOwn(errorNumbers, data.code);
  return isOurs && data.delivered === false ? { ...error, data: { ...data, delivered: true } } : error;
}
