import { z } from "zod";
import { cursorOf, nextCursor, position } from "../../http/cursor.ts";
import { envelope, requiredText, timestamp, wholeNumber } from "../../http/fields.ts";
import { Profile } from "../profiles/schema.ts";

export const NewCommentBody = envelope("comment", { body: requiredText(10_000) }).meta({ id: "NewCommentRequest" });

/** In bytes. 10,000 characters fit in any form: JSON has up to 12 bytes for each (a surrogate pair, `\\ud83d\\ude00`). */
export const COMMENT_REQUEST_SIZE_MAX = 128 * 1024;

export const CommentCursor = cursorOf("comments", { createdAt: position.time, id: position.id });

export const CommentsQuery = z.object({
  limit: wholeNumber(1, 100, 100).meta({
    description: "The number of comments to return. Values above 100 count as 100.",
  }),
  cursor: CommentCursor.parameter,
});

export const CommentId = z.int().nonnegative();

export const Comment = z
  .object({ id: CommentId, createdAt: timestamp, updatedAt: timestamp, body: z.string(), author: Profile })
  .meta({ id: "Comment" });

export const CommentResponse = z.object({ comment: Comment }).meta({ id: "CommentResponse" });

export const CommentsResponse = z.object({ comments: z.array(Comment), nextCursor }).meta({ id: "CommentsResponse" });

export type Comment = z.output<typeof Comment>;
export type CommentsPage = z.output<typeof CommentsQuery>;
export type CommentList = z.output<typeof CommentsResponse>;
