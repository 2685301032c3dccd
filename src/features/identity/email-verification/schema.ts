import { z } from "zod";
import { nonEmptyText } from "../../../http/fields.ts";

/** The token of a link in an email. */
export const linkToken = nonEmptyText(1_000);

export const VerifyBody = z
  .object({ token: linkToken }, { error: "must be an object" })
  .meta({ id: "VerifyEmailRequest" });

export const VerifyQuery = z.object({
  token: linkToken.meta({ description: "The token from the link in the email" }),
});
