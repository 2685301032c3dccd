import { z } from "zod";
import { linkToken } from "../email-verification/schema.ts";
import { newPassword } from "../users/schema.ts";

export const UndoBody = z
  .object({ token: linkToken, new_password: newPassword }, { error: "must be an object" })
  .meta({ id: "UndoEmailChangeRequest" });
