/** Asks the registry for the newest version, in the background of a command that has ended. */

import { checkNow } from "./update-notice.ts";

await checkNow(process.env).catch(() => undefined);
