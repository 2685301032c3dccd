import { z } from "zod";
import { envelope, requiredText, timestamp } from "../../http/fields.ts";
import { Profile } from "../profiles/schema.ts";

export const NewCommentBody = envelope("comment", { body: requiredText(65_536) }).meta({ id: "NewCommentRequest" });

export const CommentId = z.int().nonnegative();

export const Comment = z
  .object({ id: CommentId, createdAt: timestamp, updatedAt: timestamp, body: z.string(), author: Profile })
  .meta({ id: "Comment" });

export const CommentResponse = z.object({ comment: Comment }).meta({ id: "CommentResponse" });

export const CommentsResponse = z.object({ comments: z.array(Comment) }).meta({ id: "CommentsResponse" });

export type Comment = z.output<typeof Comment>;
