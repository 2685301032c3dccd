import { UnsafePathError } from "@conduit/embedded-postgres/private-files";
import { StartupError } from "./startup-error.ts";

export {
  createPrivateDraft,
  createPrivateFolder,
  readPrivateFile,
  requirePrivateIfThere,
  writePrivateFile,
} from "@conduit/embedded-postgres/private-files";

/** Calls `use`. Throws a StartupError if a file or folder is not private. */
export function asStartupError<T>(use: () => T): T {
  try {
    return use();
  } catch (error) {
    if (error instanceof UnsafePathError) throw new StartupError(error.message, { cause: error });
    throw error;
  }
}
