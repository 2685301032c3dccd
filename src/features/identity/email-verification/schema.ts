import { z } from "zod";
import { text } from "../../../http/fields.ts";

/** The token of a link in an email. */
export const linkToken = text(1_000).refine((value) => value !== "", "can't be blank");

export const VerifyBody = z
  .object({ token: linkToken }, { error: "must be an object" })
  .meta({ id: "VerifyEmailRequest" });

export const VerifyQuery = z.object({
  token: linkToken.meta({ description: "The token from the link in the email" }),
});
