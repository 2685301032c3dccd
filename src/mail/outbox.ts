import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";

/** What is stored of a new link: the hash that finds it, and its token encrypted for the mail. Hexadecimal text. */
export type NewLink = { readonly hash: string; readonly sealed: string };

/** What the features that write mail know of it. */
export type Outbox = {
  /** Whether there is anything that sends. Without it no mail is written. */
  readonly isOpen: boolean;
  newLink(): NewLink;
  /** Says that something was written, so that it is sent now and not at the next look. */
  wake(): void;
};

/** What the worker knows besides. */
export type OutboxKeys = {
  /** The token of a link. Throws where it was sealed with another key. */
  unseal(sealed: Uint8Array): string;
  onWake(listener: () => void): void;
};

/** @param secret the server's; the key is derived from it, and no signature of a token tells anything about the key */
export function createOutbox(secret: string, isOpen: boolean): Outbox & OutboxKeys {
  const key = Buffer.from(hkdfSync("sha256", secret, "", "conduit outbox", 32));
  let listener = () => {};
  return {
    isOpen,
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
    wake: () => listener(),
    onWake(to) {
      listener = to;
    },
  };
}

/** What a link's token is stored as. Of its text, so that each token has one spelling. */
export function linkHash(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

/** Parts of `with`: the links that end, the new link, and the mail that carries it. See `withLink`. */
type LinkParts = {
  readonly purpose: "verify" | "reset";
  readonly kind: "verify_email" | "reset_password";
  /** A query or the name of an earlier part: id, email, email_key, username. No row, no mail. */
  readonly to: string;
  /** Parameters with the link's hash and its sealed token. */
  readonly hash: string;
  readonly sealed: string;
};

/** SQL: how long a link is good. */
export const LINK_TTL = { verify: "interval '24 hours'", reset: "interval '1 hour'" } as const;

/** Parts of `with` that end the older links of an account and write a new one. Each part sees that the earlier is done. */
export function newLinkParts({ purpose, to, hash }: Omit<LinkParts, "kind" | "sealed">): string {
  return `
   link_ended as materialized (select end_links(t.id, '${purpose}') from ${to} t),
   link as (
     insert into email_links (token_hash, user_id, purpose, email, email_key, expires_at)
     select decode(${hash}, 'hex'), t.id, '${purpose}', t.email, t.email_key, now() + ${LINK_TTL[purpose]}
       from ${to} t, (select count(*) from link_ended) as done)`;
}

/** Parts of `with` that write a link and the mail with it, in the transaction of their cause. */
export function linkMailParts(parts: LinkParts): string {
  return `${newLinkParts(parts)},
   link_mail as (
     insert into outbox (kind, user_id, to_address, username, sealed)
     select '${parts.kind}', t.id, t.email, t.username, decode(${parts.sealed}, 'hex') from ${parts.to} t)`;
}
