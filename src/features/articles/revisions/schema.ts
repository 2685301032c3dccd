import { z } from "zod";
import { cursorOf, nextCursor, position } from "../../../http/cursor.ts";
import { timestamp, wholeNumber } from "../../../http/fields.ts";

const NUMBER_MAX = 2 ** 31 - 1;

/** As text, because cursors have ids as text. */
export const RevisionCursor = cursorOf("revisions", { number: position.id });

export const RevisionsQuery = z.object({
  limit: wholeNumber(1, 100, 20).meta({
    description: "The number of revisions to return. Values above 100 count as 100.",
  }),
  cursor: RevisionCursor.parameter,
});

/** In a path. */
export const RevisionNumber = z.int().positive().max(NUMBER_MAX);

export const DiffQuery = z.object({
  to: wholeNumber(1, NUMBER_MAX, 1)
    .unwrap()
    .optional()
    .meta({
      wire: { type: "integer", minimum: 1 },
      description: "The number of the other revision. By default, the article as it is now.",
    }),
});

export const RevisionPreview = z
  .object({
    number: RevisionNumber.meta({ description: "1 is the oldest" }),
    title: z.string(),
    description: z.string(),
    tagList: z.array(z.string()),
    createdAt: timestamp.meta({ description: "When this version was written" }),
    replacedAt: timestamp.meta({ description: "When the next version replaced it" }),
  })
  .meta({ id: "RevisionPreview", description: "A former version of an article, without its body" });

export const Revision = RevisionPreview.extend({ body: z.string() }).meta({ id: "Revision" });

export const RevisionResponse = z.object({ revision: Revision }).meta({ id: "RevisionResponse" });

export const RevisionsResponse = z
  .object({ revisions: z.array(RevisionPreview), nextCursor })
  .meta({ id: "RevisionsResponse" });

const DiffPart = z
  .object({ kind: z.enum(["same", "removed", "added"]), text: z.string() })
  .meta({ id: "DiffPart", description: "A part of both texts, of the older alone, or of the newer alone" });

export const Diff = z
  .object({
    from: RevisionNumber,
    to: RevisionNumber.nullable().meta({ description: "Null is the article as it is now" }),
    title: z.array(DiffPart),
    description: z.array(DiffPart),
    body: z.array(DiffPart),
    tagList: z.array(DiffPart).meta({ description: "Each part is a tag" }),
  })
  .meta({ id: "Diff", description: "How two versions of an article differ, by words" });

export const DiffResponse = z.object({ diff: Diff }).meta({ id: "DiffResponse" });

export type RevisionPreview = z.output<typeof RevisionPreview>;
export type Revision = z.output<typeof Revision>;
export type RevisionList = z.output<typeof RevisionsResponse>;
export type RevisionsPage = z.output<typeof RevisionsQuery>;
export type Diff = z.output<typeof Diff>;
