import type { ClientAddress } from "../../http/client-address.ts";
import type { Mail } from "../../mail/queue.ts";
import type { Memory } from "../../memory/memory.ts";
import type { RateLimits } from "./rate-limits.ts";
import type { SessionLimits } from "./sessions/queries.ts";
import type { Revocations } from "./sessions/revocations.ts";
import type { SuccessorOf } from "./sessions/rules.ts";
import type { Tokens } from "./tokens.ts";
import type { PasswordRule } from "./users/new-passwords.ts";
import type { WriteLimits } from "./write-limits.ts";

/** What the routes of this feature share. */
export type IdentityContext = {
  readonly tokens: Tokens;
  readonly successorOf: SuccessorOf;
  readonly revocations: Revocations;
  readonly sessionLimits: SessionLimits;
  readonly addressOf: ClientAddress;
  readonly mail: Mail;
  readonly memory: Memory;
  readonly limits: RateLimits;
  readonly writeLimits: WriteLimits;
  readonly checkNewPassword: PasswordRule;
  /** Whether a new password or address needs the current password. */
  readonly requireCurrentPassword: boolean;
  /** Whether a new address replaces the old one only when it is verified. */
  readonly requireEmailConfirmation: boolean;
};
