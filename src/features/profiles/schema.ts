import { z } from "zod";

/** Anybody, as anybody may see them. */
export const Profile = z
  .object({
    username: z.string(),
    bio: z.string().nullable(),
    image: z.string().nullable(),
    following: z.boolean().meta({ description: "Whether the current user follows this user" }),
  })
  .meta({ id: "Profile" });

export const ProfileResponse = z.object({ profile: Profile }).meta({ id: "ProfileResponse" });

export type Profile = z.output<typeof Profile>;
