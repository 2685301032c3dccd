import { envelope, requiredText } from "../platform/fields.ts";

export const NewCommentBody = envelope("comment", { body: requiredText(65_536) });
