import { type ApiError, invalid } from "../../../http/errors.ts";
import { normalise } from "../passwords.ts";
import { emailKeyOf } from "./emails.ts";
import { sameKey } from "./rules.ts";

/** Throws 422 if a new password must not be used. `field` is its name in the request. */
export type PasswordRule = (password: string, owner: PasswordOwner, field?: "password" | "new_password") => void;

/** What anybody can know about an account. */
export type PasswordOwner = { readonly username: string; readonly email: string };

/**
 * The rules for new passwords besides their length (NIST SP 800-63B, 5.1.1.2: context-specific words, commonly used values).
 * @param blocklist common passwords in lower case; null for none
 */
export function passwordRule(blocklist: ReadonlySet<string> | null): PasswordRule {
  return (password, { username, email }, field = "password") => {
    const key = sameKey(password.trim());
    const emailKey = emailKeyOf(email);
    const local = emailKey.slice(0, emailKey.lastIndexOf("@"));
    const known = [username, email, emailKey, local, local.replace(/\+.*$/, "")].map(sameKey);
    if (known.includes(key)) throw invalid({ [field]: ["must not be your username or email address"] });
    // As it is hashed, in any case.
    if (blocklist?.has(normalise(password).toLowerCase())) {
      throw invalid({ [field]: ["is one of the most common passwords, which attackers try first"] });
    }
  };
}

export const wrongCurrentPassword = (): ApiError => invalid({ currentPassword: ["is wrong"] });

/** The list of common passwords; null if the setting is off, which does not load it. */
export async function openBlocklist(isOn: boolean): Promise<ReadonlySet<string> | null> {
  if (!isOn) return null;
  const { dictionary } = await import("@zxcvbn-ts/language-common");
  return new Set(dictionary["passwords-common"]);
}
