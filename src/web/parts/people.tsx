import { assetPath } from "../assets.ts";

/** Schemes of pictures that a browser can load here. Any other address is text that somebody typed. */
const PICTURE = /^(?:https?:\/\/|data:image\/|\/(?!\/))/i;

/** The address of a user's picture: their own, or the default one. */
export function pictureOf(image: string | null): string {
  return image !== null && PICTURE.test(image) ? image : assetPath("default-avatar.svg");
}

/** The path of a profile. A username has no slash, but maybe a space or letters beyond ASCII. */
export const profilePath = (username: string): string => `/profile/${encodeURIComponent(username)}`;

/** A point in time as a date. In UTC and complete, so that a page does not depend on when and where it is rendered. */
export function PostDate({ iso }: { iso: string }) {
  return <time datetime={iso}>{DATE.format(new Date(iso))}</time>;
}

/** The same with the time of day. */
export function PostTime({ iso }: { iso: string }) {
  return <time datetime={iso}>{TIME.format(new Date(iso))} UTC</time>;
}

const TIME = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });
const DATE = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
