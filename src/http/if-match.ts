import type { MiddlewareHandler } from "hono";
import { ApiError } from "./errors.ts";
import { describeGuard } from "./openapi.ts";

/** The versions of which a thing must have one to be changed; null for any. */
export type IfVersions = readonly number[] | null;

/** Guard: reads `If-Match` (RFC 9110, 13.1.1); the handler finds its versions in `c.var.ifVersions`. Throws 400. */
export const ifMatch: MiddlewareHandler<{ Variables: { ifVersions: IfVersions } }> = (c, next) => {
  c.set("ifVersions", versionsIn(c.req.header("If-Match")));
  return next();
};
describeGuard(ifMatch, {
  headers: {
    "If-Match": {
      description:
        'The `ETag` of what you have, or only its `version` in quotation marks: `"3"`. The request changes something only if that is still its version. Otherwise the status is 412. The part behind the version is ignored.',
      pattern: String.raw`^(\*|(W/)?"[!#-~]*"(, (W/)?"[!#-~]*")*)$`,
    },
  },
});

/** RFC 9110, 8.8.3. */
const ENTITY_TAGS = /(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g;
/** Entity tags, each as a line break, with empty members between them (RFC 9110, 5.6.1.2). */
const LIST = /^,*\n(?:,+\n)*,*$/;
/** A strong tag with a version that a column can have: the comparison is strong, so a weak tag matches nothing. */
const VERSION = /^"([0-9]{1,9})(?:-.*)?"$/;

function versionsIn(header: string | undefined): IfVersions {
  const value = header?.trim();
  // What does not exist is 404, so `*` matches whatever is left.
  if (value === undefined || value === "*") return null;
  if (!LIST.test(value.replace(ENTITY_TAGS, "\n").replace(/[ \t]/g, ""))) {
    throw new ApiError("bad_request", { "If-Match": ['must be "*" or a list of entity tags in quotation marks'] });
  }
  return (value.match(ENTITY_TAGS) ?? []).flatMap((tag) => VERSION.exec(tag)?.[1] ?? []).map(Number);
}
