import type { Config } from "../../config/settings.ts";

/** The settings about where readers find articles. */
export type LinkSettings = Pick<Config, "siteUrl" | "articlePath" | "profilePath" | "tagPath">;

/** The addresses of pages for readers: those of this server, or of a front end elsewhere. */
export type Links = {
  readonly home: string;
  article(slug: string): string;
  profile(username: string): string;
  tag(tag: string): string;
};

/** @param server the address of this server, which has the pages if `SITE_URL` is not set */
export function linksOf({ siteUrl, articlePath, profilePath, tagPath }: LinkSettings, server: string): Links {
  const site = siteUrl ?? server;
  const linkTo = (pattern: string) => (value: string) =>
    site + pattern.replace(/\{[a-z]+\}/, () => encodeURIComponent(value));
  return { home: `${site}/`, article: linkTo(articlePath), profile: linkTo(profilePath), tag: linkTo(tagPath) };
}
