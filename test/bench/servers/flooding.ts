// The server over HTTP that floods who calls it, in a process of its own. Tells its URL through IPC.
import { createFloodingHost } from '../../fixtures/http/flooding-host.ts';

const host = await createFloodingHost();
process.send?.(host.url);
process.once('disconnect', () => process.exit(0));
