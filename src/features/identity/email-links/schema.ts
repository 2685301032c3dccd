import { z } from "zod";
import { requiredText, text } from "../../../http/fields.ts";
import { newPassword } from "../users/schema.ts";

const token = text(1_000).refine((value) => value !== "", "can't be blank");

const fields = <Shape extends z.ZodRawShape>(shape: Shape) => z.object(shape, { error: "must be an object" });

export const VerifyBody = fields({ token }).meta({ id: "VerifyEmailRequest" });
export const VerifyQuery = fields({ token: token.meta({ description: "The token from the link in the email" }) });

export const ForgotBody = fields({ email: requiredText(254) }).meta({ id: "ForgotPasswordRequest" });

export const ResetBody = fields({ token, new_password: newPassword }).meta({ id: "ResetPasswordRequest" });
