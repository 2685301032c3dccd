import { z } from "zod";
import { characters, envelope, filter, isStorable, requiredText, wholeNumber } from "../platform/fields.ts";
import { normaliseTags } from "./rules.ts";

const title = requiredText(255);
const description = requiredText(1_000);

const body = requiredText(Number.POSITIVE_INFINITY).refine(
  (value) => Buffer.byteLength(value) <= 1024 * 1024,
  "is too long (maximum is 1 MiB)",
);

const tagList = z
  .array(z.string({ error: "must be a list of strings" }), { error: "must be a list of strings" })
  .transform(normaliseTags)
  .refine((tags) => tags.every(isStorable), { error: "contains a character that is not allowed", abort: true })
  .refine((tags) => tags.length <= 20, "has too many tags (maximum is 20)")
  .refine(
    (tags) => tags.every((tag) => characters(tag) <= 50),
    "has a tag that is too long (maximum is 50 characters)",
  );

export const NewArticleBody = envelope("article", { title, description, body, tagList: tagList.default([]) });

/** Absent stays as it is; nothing of an article can be null. */
export const UpdateArticleBody = envelope("article", {
  title: title.optional(),
  description: description.optional(),
  body: body.optional(),
  tagList: tagList.optional(),
});

export const PageQuery = z.object({
  limit: wholeNumber(1, 100, 20),
  offset: wholeNumber(0, Number.MAX_SAFE_INTEGER, 0),
});

export const ListQuery = PageQuery.extend({ tag: filter, author: filter, favorited: filter });

export type NewArticle = z.output<typeof NewArticleBody>["article"];
export type ArticleUpdate = z.output<typeof UpdateArticleBody>["article"];
export type Page = z.output<typeof PageQuery>;
export type ListFilters = z.output<typeof ListQuery>;
