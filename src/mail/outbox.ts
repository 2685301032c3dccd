import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";
import type { Mail } from "./queue.ts";

/** What the worker knows besides. */
export type OutboxKeys = {
  /** The token of a link. Throws where it was sealed with another key. */
  unseal(sealed: Uint8Array): string;
};

/** @param secret the server's; the key is derived from it, and no signature of a token tells anything about the key */
export function createOutbox(secret: string, isEnabled: boolean): Mail & OutboxKeys {
  const key = Buffer.from(hkdfSync("sha256", secret, "", "conduit outbox", 32));
  return {
    isEnabled,
    newLink() {
      const token = randomBytes(32).toString("base64url");
      // AES-256-GCM (NIST SP 800-38D): nonce, ciphertext, tag.
      const nonce = randomBytes(12);
      const cipher = createCipheriv("aes-256-gcm", key, nonce);
      const sealed = Buffer.concat([nonce, cipher.update(token, "utf8"), cipher.final(), cipher.getAuthTag()]);
      return { hash: linkHash(token), sealed: sealed.toString("hex") };
    },
    unseal(sealed) {
      const bytes = Buffer.from(sealed);
      const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, 12), { authTagLength: 16 });
      decipher.setAuthTag(bytes.subarray(-16));
      return decipher.update(bytes.subarray(12, -16)).toString("utf8") + decipher.final("utf8");
    },
  };
}

/** What a link's token is stored as. Of its text, so that each token has one spelling. */
export function linkHash(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}
