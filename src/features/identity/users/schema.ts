import { z } from "zod";
import { hasInvisible, isBlank, withoutInvisible } from "../../../http/characters.ts";
import {
  characters,
  envelope,
  INVISIBLE,
  NOT_BLANK_PATTERN,
  nonEmptyText,
  optionalText,
  requiredText,
  text,
} from "../../../http/fields.ts";
import { TokenPair } from "../sessions/schema.ts";
import { isAddress } from "./emails.ts";
import { hasStackedMarks, mixesScripts } from "./names.ts";

const LENGTH = "must be 3 to 50 characters long";

const username = text(Number.POSITIVE_INFINITY)
  // Several spaces look like one, and every kind of space looks the same.
  .transform((value) => value.trim().replace(/\p{Zs}+/gu, " "))
  .refine((value) => !isBlank(value), { error: "can't be blank", abort: true })
  .refine((value) => characters(value) <= 50, { error: LENGTH, abort: true })
  .refine((value) => characters(value) >= 3, LENGTH)
  // These would break the paths and headers that contain a username.
  .refine((value) => !/[/?#%]/.test(value), "must not contain any of / ? # %")
  .refine((value) => !hasInvisible(value), { error: INVISIBLE, abort: true })
  .refine((value) => !mixesScripts(value), "must not mix letters of different scripts")
  .refine((value) => !hasStackedMarks(value), "must not stack or repeat accents")
  // Clients resolve a path segment of dots to another path (RFC 3986, 5.2.4).
  .refine((value) => !/^\.+$/.test(value), "must not consist only of dots")
  .meta({
    description:
      "3 to 50 visible characters without / ? # %. Letters are of one script; Latin may be mixed with Chinese, Japanese or Korean. Runs of spaces become one space.",
    minLength: 3,
    // White space around it is removed.
    pattern: String.raw`^\s*[^\s/?#%\x00-\x1f\x7f-\x9f][^/?#%\x00-\x1f\x7f-\x9f]{1,48}[^\s/?#%\x00-\x1f\x7f-\x9f]\s*$`,
  });

const email = text(254)
  .transform((value) => value.trim())
  .refine((value) => value !== "", { error: "can't be blank", abort: true })
  .refine((value) => withoutInvisible(value) === value, { error: INVISIBLE, abort: true })
  .refine(isAddress, "is not a valid address")
  // JSON Schema's `email` is ASCII only.
  .meta({ format: "idn-email", minLength: 3, pattern: String.raw`^\s*[^\s@]+@[^\s@]+\s*$` });

/** NIST SP 800-63B, 5.1.1.2: the length counts, in code points of any Unicode characters. One of them must be visible. */
export const newPassword = text(Number.POSITIVE_INFINITY)
  .refine((value) => !isBlank(value), { error: "can't be blank", abort: true })
  .refine((value) => characters(value) >= 8, "is too short (minimum is 8 characters)")
  // Hashing takes time in proportion to the length.
  .refine((value) => Buffer.byteLength(value) <= 1024, "is too long (maximum is 1024 bytes)")
  .meta({ format: "password", minLength: 8, maxLength: 1024, pattern: NOT_BLANK_PATTERN });

const bio = optionalText(1_000);
const image = optionalText(2_048).meta({ description: "The URL of a picture" });

export const NewUserBody = envelope("user", { username, email, password: newPassword }).meta({ id: "NewUserRequest" });

export const LoginBody = envelope("user", {
  // The length of the longest address, because normalising takes quadratic time (users/rules.ts).
  email: requiredText(254),
  password: nonEmptyText(Number.POSITIVE_INFINITY).meta({ format: "password" }),
}).meta({ id: "LoginRequest" });

export const UpdateUserBody = envelope(
  "user",
  {
    username: username.optional(),
    email: email.optional(),
    password: newPassword.optional(),
    bio,
    image,
    currentPassword: text(Number.POSITIVE_INFINITY).optional().meta({
      format: "password",
      description: "Required with `password` and with a new `email` if the server is set up so",
    }),
  },
  { minProperties: 1 },
)
  .refine(({ user: { currentPassword: _, ...user } }) => Object.values(user).some((value) => value !== undefined), {
    path: ["user"],
    // RealWorld openapi.yml, UpdateUserRequest.
    error: "must have at least one of username, email, password, bio, image",
  })
  .meta({ id: "UpdateUserRequest", description: "Absent fields keep their value. At least one field is required." });

export type NewUser = z.output<typeof NewUserBody>["user"];
export type Credentials = z.output<typeof LoginBody>["user"];
export type UserChanges = z.output<typeof UpdateUserBody>["user"];
export type UserUpdate = Omit<UserChanges, "currentPassword">;

/** The current user: only users themselves see this. */
export const User = z
  .object({
    email: z.string(),
    email_verified: z.boolean().meta({ description: "Whether the user has verified the email address" }),
    token: z.string().meta({ description: "The access token, for the `Authorization` header" }),
    username: z.string(),
    bio: z.string().nullable(),
    image: z.string().nullable(),
  })
  .meta({ id: "User" });

export type User = z.output<typeof User>;

export const UserResponse = z.object({ user: User }).meta({ id: "UserResponse" });

export const SignedInResponse = z.object({ user: User, ...TokenPair.shape }).meta({
  id: "SignedInResponse",
  description: "`user.token` equals `access_token`, for clients that know only the RealWorld contract.",
});
