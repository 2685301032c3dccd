import type { Diff, RevisionList } from "../../features/articles/revisions/schema.ts";
import type { DiffPart } from "../../markup/diff.ts";
import type { Frame } from "../app.ts";
import { Layout } from "../layout.tsx";
import type { Page } from "../page.ts";
import { revisionsPath } from "../parts/article.tsx";
import { PostTime } from "../parts/people.tsx";

type RevisionsProps = { frame: Frame; slug: string; list: RevisionList };

/** The former versions of an article, for its author. */
export function revisionsPage({ frame, slug, list: { revisions, nextCursor } }: RevisionsProps): Page {
  const path = revisionsPath(slug);
  return (
    <Layout title="Earlier versions" frame={frame} path={path}>
      <h1>Earlier versions</h1>
      <p class="muted">
        Each edit keeps the version before. Back to the{" "}
        <a class="link" href={`/editor/${slug}`}>
          editor
        </a>
        .
      </p>
      {revisions.length === 0 ? <p class="empty">There are none.</p> : null}
      <ul class="revisions">
        {revisions.map(({ number, title, createdAt }) => (
          <li>
            <a class="link" href={`${path}/${number}`}>
              {number}. {title}
            </a>{" "}
            <span class="muted">
              written <PostTime iso={createdAt} />
            </span>
          </li>
        ))}
      </ul>
      {nextCursor === null ? null : (
        <a class="btn" href={`${path}?cursor=${nextCursor}`}>
          Older versions
        </a>
      )}
    </Layout>
  );
}

type RevisionProps = { frame: Frame; slug: string; diff: Diff };

/** How a former version differs from the article as it is now, with a button that restores it. */
export function revisionPage({ frame, slug, diff }: RevisionProps): Page {
  const path = `${revisionsPath(slug)}/${diff.from}`;
  return (
    <Layout title={`Version ${diff.from}`} frame={frame} path={path}>
      <h1>Version {diff.from}, compared with now</h1>
      <p class="muted">
        <del>Crossed out</del> is only in this version, <ins>underlined</ins> only in the current one.{" "}
        <a class="link" href={revisionsPath(slug)}>
          All versions
        </a>
      </p>
      <form method="post" action={`${path}/restore`}>
        <button class="btn btn-primary" type="submit">
          Restore this version
        </button>
      </form>
      <div class="article-content diff">
        <h2>
          <Parts parts={diff.title} />
        </h2>
        <p class="lead">
          <Parts parts={diff.description} />
        </p>
        <ul class="tag-list" aria-label="Tags">
          {diff.tagList.map((part) => (
            <li class="tag-default">
              <Parts parts={[part]} />
            </li>
          ))}
        </ul>
        <div>
          <Parts parts={diff.body} />
        </div>
      </div>
    </Layout>
  );
}

function Parts({ parts }: { parts: readonly DiffPart[] }) {
  return (
    <>
      {parts.map(({ kind, text }) =>
        kind === "same" ? text : kind === "added" ? <ins>{text}</ins> : <del>{text}</del>,
      )}
    </>
  );
}
