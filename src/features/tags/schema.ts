import { z } from "zod";
import { filter, wholeNumber } from "../../http/fields.ts";

export const TagsQuery = z.object({
  q: filter.meta({ description: "Return only tags that begin with this, written as it is" }),
  limit: wholeNumber(1, 1_000, 1_000).meta({
    description: "The number of tags to return. Values above 1,000 count as 1,000.",
  }),
});

export type TagFilters = z.output<typeof TagsQuery>;

export const TagsResponse = z.object({ tags: z.array(z.string()) }).meta({ id: "TagsResponse" });
