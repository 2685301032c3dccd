import { z } from "zod";

export const TagsResponse = z.object({ tags: z.array(z.string()) }).meta({ id: "TagsResponse" });
