import { raw } from "hono/html";
import type { ArticleStatus } from "../../features/articles/schema.ts";
import type { Frame } from "../app.ts";
import { Layout } from "../layout.tsx";
import type { Page } from "../page.ts";
import { revisionsPath } from "../parts/article.tsx";
import { Field, Problems, TextArea } from "../parts/form.tsx";

/** What is in the form. */
export type Manuscript = {
  readonly title: string;
  readonly description: string;
  readonly body: string;
  readonly tags: readonly string[];
  /** Of `datetime-local`, in UTC; empty for none. */
  readonly publishAt: string;
  /** Of the article to change, when the form was shown; null for a new one. */
  readonly status: ArticleStatus | null;
};

export type EditorProps = {
  frame: Frame;
  /** The article to change; null for a new one. */
  slug: string | null;
  /** By which a new article that is sent twice is created once. */
  formKey: string;
  /** The version of the article that the text was written for; undefined for a new one. */
  version?: number | undefined;
  manuscript: Manuscript;
  /** What has been saved meanwhile, in another tab or by another program. */
  newer?: Manuscript;
  problems?: readonly string[];
  /** Whether the session has ended, so that nothing can be published. */
  isSignedOut?: boolean;
  /** The body as HTML, from `renderBody`. */
  preview?: string | undefined;
  /** Whether a tag was just added or removed, so that the next one can be typed at once. */
  isTagging?: boolean;
};

/**
 * One form for everything: the buttons that add and remove tags and show the preview send it too, and get it back with what was
 * typed. Only the buttons `publish`, `save` and `schedule` save it. So the editor works without JavaScript, and nothing is lost.
 */
export function editorPage({
  frame,
  slug,
  formKey,
  version,
  manuscript,
  newer,
  problems,
  isSignedOut = false,
  preview,
  isTagging = false,
}: EditorProps): Page {
  const { title, description, body, tags, publishAt, status } = manuscript;
  const path = slug === null ? "/editor" : `/editor/${slug}`;
  return (
    <Layout title={slug === null ? "New article" : "Edit article"} frame={frame} path={path} width="full">
      <div class="editor-page page">
        <h1>{slug === null ? "New article" : "Edit article"}</h1>
        {isSignedOut ? <SignedOut /> : <Problems problems={problems} />}
        {newer === undefined ? null : <Outdated status={newer.status} />}
        <form class="editor" method="post" action={path}>
          {slug === null ? <input type="hidden" name="formKey" value={formKey} /> : null}
          {version === undefined ? null : <input type="hidden" name="version" value={version} />}
          {/* Enter in a field selects the first button of a form. */}
          <button class="visually-hidden" type="submit" formnovalidate tabindex={-1}>
            Add tag
          </button>
          <Field name="title" label="Title" value={title} placeholder="Article title" maxlength={255} required />
          <Field
            name="description"
            label="Description"
            value={description}
            placeholder="What is it about? One or two sentences, shown in lists"
            maxlength={1_000}
            required
          />
          <TextArea name="body" label="Article" value={body} placeholder="Write in Markdown" rows={14} required />
          <TagField tags={tags} isTagging={isTagging} />
          {status === null ? null : <input type="hidden" name="status" value={status} />}
          <div class="editor-actions">
            <button class="btn btn-primary" type="submit" name="publish" value="1">
              Publish Article
            </button>
            <button class="btn" type="submit" formaction={`${path}#preview`} name="preview" value="1" formnovalidate>
              Preview
            </button>
            <button class="btn" type="submit" name="save" value="1">
              {status === "published" ? "Back to drafts" : "Save draft"}
            </button>
            {slug === null ? null : (
              <a class="link" href={revisionsPath(slug)}>
                Earlier versions
              </a>
            )}
          </div>
          <div class="editor-schedule">
            <Field
              name="publishAt"
              label="Or choose a time (UTC)"
              type="datetime-local"
              value={publishAt}
              hint="Only you can see the article until then."
            />
            <button class="btn" type="submit" name="schedule" value="1">
              Schedule
            </button>
          </div>
        </form>
        {newer === undefined ? null : <Newer article={newer} />}
        {preview === undefined ? null : (
          <section class="preview" id="preview" aria-labelledby="preview-title">
            <h2 id="preview-title">Preview</h2>
            <div class="article-content">{raw(preview)}</div>
          </section>
        )}
      </div>
    </Layout>
  );
}

function TagField({ tags, isTagging }: { tags: readonly string[]; isTagging: boolean }) {
  return (
    <div class="field" data-tags>
      <label for="tag">Tags</label>
      <div class="tag-entry">
        <input
          id="tag"
          name="tag"
          type="text"
          placeholder="Enter tags"
          maxlength={200}
          autofocus={isTagging}
          aria-describedby="tag-hint"
        />
        <button class="btn" type="submit" formnovalidate>
          Add
        </button>
      </div>
      <p class="hint" id="tag-hint">
        Press Enter after each tag. At most 20.
      </p>
      <ul class="tag-list" aria-label="Tags of this article">
        {tags.map((tag) => (
          <li class="tag-default tag-pill">
            <input type="hidden" name="tagList" value={tag} />
            {tag}
            <button type="submit" formnovalidate name="without" value={tag} aria-label={`Remove the tag ${tag}`}>
              <i class="ion-close-round" />
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

const STATUS_TEXTS: Record<ArticleStatus, string> = {
  draft: "a draft",
  scheduled: "scheduled",
  published: "published",
};

function Outdated({ status }: { status: ArticleStatus | null }) {
  return (
    <p class="error-messages" role="alert">
      This article has changed since you opened it. Your text is still here, and not saved. The{" "}
      <a class="link" href="#newer">
        newer text
      </a>{" "}
      is below it: copy from there what you want to keep. If you save now, your text replaces it.
      {status === null ? null : ` The article is now ${STATUS_TEXTS[status]}.`}
    </p>
  );
}

/** To read and to copy. */
function Newer({ article: { title, description, body, tags } }: { article: Manuscript }) {
  return (
    <section class="preview" id="newer" aria-labelledby="newer-title">
      <h2 id="newer-title">Newer text</h2>
      <p>
        <b>{title}</b>
      </p>
      <p>{description}</p>
      <textarea aria-label="Newer article" rows={14} readonly>
        {`\n${body}`}
      </textarea>
      <p class="hint">{tags.length === 0 ? "No tags" : `Tags: ${tags.join(", ")}`}</p>
    </section>
  );
}

function SignedOut() {
  return (
    <p class="error-messages" role="alert">
      You have been signed out. Your text is still here:{" "}
      <a class="link" href="/login" target="_blank" rel="noopener">
        sign in in another tab
      </a>
      , then publish it.
    </p>
  );
}
