import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";
import type { NewLink } from "./queue.ts";

/** Makes the tokens of links, and reads those in the queue. */
export type LinkTokens = {
  newLink(): NewLink;
  /** The token of `NewLink.sealed`. Throws if it was sealed with another secret. */
  unseal(sealed: string): string;
};

/** @param secret the server's; the key is derived from it, so that a signature reveals nothing about the key */
export function createLinkTokens(secret: string): LinkTokens {
  const key = Buffer.from(hkdfSync("sha256", secret, "", "conduit mail links", 32));
  return {
    newLink() {
      const token = randomBytes(32).toString("base64url");
      // AES-256-GCM (NIST SP 800-38D): nonce, ciphertext, tag.
      const nonce = randomBytes(12);
      const cipher = createCipheriv("aes-256-gcm", key, nonce);
      const sealed = Buffer.concat([nonce, cipher.update(token, "utf8"), cipher.final(), cipher.getAuthTag()]);
      return { hash: linkHash(token), sealed: sealed.toString("hex") };
    },
    unseal(sealed) {
      const bytes = Buffer.from(sealed, "hex");
      const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, 12), { authTagLength: 16 });
      decipher.setAuthTag(bytes.subarray(-16));
      return decipher.update(bytes.subarray(12, -16)).toString("utf8") + decipher.final("utf8");
    },
  };
}

/** What a token is stored as: the hash of its text, so that each token has one spelling. */
export function linkHash(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}
