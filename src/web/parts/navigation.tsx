import type { Frame } from "../app.ts";
import { pictureOf, profilePath } from "./people.tsx";

export const SEARCH_PATH = "/search";

/** @param path of the page, to mark its link as the current one */
export function Navigation({ frame, path }: { frame: Frame | undefined; path: string | undefined }) {
  return (
    <nav class="navbar" aria-label="Main">
      <div class="container">
        <a class="navbar-brand" href="/">
          conduit
        </a>
        {frame === undefined || path === SEARCH_PATH ? null : <SearchBox />}
        {frame === undefined ? null : <div class="navbar-nav">{links(frame, path)}</div>}
      </div>
    </nav>
  );
}

/** On narrow screens its button alone, which leads to the page with the whole form. */
function SearchBox() {
  return (
    <search class="search-box">
      <form action={SEARCH_PATH}>
        <input type="search" name="q" placeholder="Search" aria-label="Search articles" maxlength={200} />
        {/* biome-ignore lint/a11y/useButtonType: the official suite takes the first button[type="submit"] for a page's main one */}
        <button class="search-button" aria-label="Search">
          <SearchIcon />
        </button>
      </form>
    </search>
  );
}

function SearchIcon() {
  return (
    <svg width="18" height="18" viewBox="0 0 16 16" aria-hidden="true">
      <g fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round">
        <circle cx="7" cy="7" r="4.5" />
        <path d="m10.5 10.5 3 3" />
      </g>
    </svg>
  );
}

function links({ viewer }: Frame, path: string | undefined) {
  if (viewer === null) {
    return (
      <>
        <NavLink href="/login" current={path} text="Sign in" />
        <a class="btn btn-primary" href="/register" aria-current={path === "/register" ? "page" : undefined}>
          Sign up
        </a>
      </>
    );
  }
  const profile = profilePath(viewer.username);
  return (
    <>
      <NavLink href="/editor" current={path} text="Write" />
      <NavLink href="/drafts" current={path} text="Drafts" />
      <NavLink href="/settings" current={path} text="Settings" />
      <a class="nav-link nav-user" href={profile} aria-current={path === profile ? "page" : undefined}>
        <img class="user-pic" src={pictureOf(viewer.image)} alt="" width="32" height="32" />
        <span class="nav-name">{viewer.username}</span>
      </a>
    </>
  );
}

function NavLink({ href, current, text }: { href: string; current: string | undefined; text: string }) {
  const isCurrent = href === current;
  return (
    <a class={isCurrent ? "nav-link active" : "nav-link"} href={href} aria-current={isCurrent ? "page" : undefined}>
      {text}
    </a>
  );
}
