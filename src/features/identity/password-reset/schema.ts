import { z } from "zod";
import { requiredText } from "../../../http/fields.ts";
import { linkToken } from "../email-verification/schema.ts";
import { newPassword } from "../users/schema.ts";

export const ForgotBody = z
  .object({ email: requiredText(254) }, { error: "must be an object" })
  .meta({ id: "ForgotPasswordRequest" });

export const ResetBody = z
  .object({ token: linkToken, new_password: newPassword }, { error: "must be an object" })
  .meta({ id: "ResetPasswordRequest" });
