import { type Context, Hono } from "hono";
import { listDrafts } from "../features/articles/drafts.ts";
import { changeArticle, createArticle } from "../features/articles/publication.ts";
import { findArticle } from "../features/articles/queries.ts";
import { normaliseTags } from "../features/articles/rules.ts";
import {
  ARTICLE_REQUEST_SIZE_MAX,
  type Article,
  type ArticleStatus,
  DraftsQuery,
  NewArticleBody,
  STATUSES,
} from "../features/articles/schema.ts";
import { StaleArticle } from "../features/articles/stale.ts";
import { createOnce } from "../features/identity/idempotency.ts";
import { ApiError, forbidden } from "../http/errors.ts";
import { parse, readFields, withRoomForBody } from "../http/validation.ts";
import { renderBody } from "../markup/body.ts";
import { show, type WebContext } from "./app.ts";
import type { WithViewer } from "./browser-session.ts";
import { formKeyIn, newFormKey, onceFor, textOf } from "./fields.ts";
import { draftsPage } from "./pages/drafts.tsx";
import { type EditorProps, editorPage, type Manuscript } from "./pages/editor.tsx";
import { articlePath } from "./parts/article.tsx";
import { problemsOf } from "./problems.ts";
import { redirectTo, sameOriginForms } from "./requests.ts";

/** In bytes: what somebody whose session has ended gets back, so that they can publish it later. */
const SIGNED_OUT_SIZE_MAX = 256 * 1024;

const BLANK: Manuscript = { title: "", description: "", body: "", tags: [], publishAt: "", status: null };

/** Writing an article, and changing one. */
export function editorRoutes(web: WebContext) {
  const { db, memory, sessions, writeLimits } = web;
  const sameOrigin = sameOriginForms(web.baseUrl);

  function submit(c: Context<WithViewer>, slug: string | null): Promise<Response> {
    const sizeMax = c.var.viewer === null ? SIGNED_OUT_SIZE_MAX : ARTICLE_REQUEST_SIZE_MAX;
    return withRoomForBody(c, sizeMax, async () => respond(c, slug, await readFields(c.req.raw, sizeMax)));
  }

  /**
   * Publishes, schedules or keeps what is in the form, or shows it again: with one tag more or less, with a preview, or with what
   * is wrong.
   */
  async function respond(c: Context<WithViewer>, slug: string | null, fields: URLSearchParams): Promise<Response> {
    const manuscript = manuscriptIn(fields, slug);
    const formKey = formKeyIn(fields);
    const version = versionIn(fields);
    const showAgain = (more: Partial<EditorProps>, status = 200) =>
      show(c, web, editorPage, { slug, formKey, version, manuscript, ...more }, { status, isPersonal: true });

    // A redirect to the sign-in page would lose the text.
    if (c.var.viewer === null) return showAgain({ isSignedOut: true }, 401);
    if (fields.has("preview")) return showAgain({ preview: await renderBody(manuscript.body) });
    const status = statusWanted(fields);
    if (status === undefined) return showAgain({ isTagging: true });
    try {
      const article = await save(c, slug, manuscript, { status, formKey, version });
      return redirectTo(c, articlePath(article.slug));
    } catch (error) {
      // To save again replaces the newer version, which the page shows.
      if (error instanceof StaleArticle) {
        const { version, status } = error.article;
        const newer = manuscriptOf(error.article);
        return showAgain({ newer, version, manuscript: { ...manuscript, status } }, error.status);
      }
      if (error instanceof ApiError && error.code === "unauthorized") return showAgain({ isSignedOut: true }, 401);
      if (error instanceof ApiError && error.code === "not_found") return showAgain({ problems: [GONE] }, error.status);
      const { status, texts } = problemsOf(c, error);
      return showAgain({ problems: texts }, status);
    }
  }

  async function save(
    c: Context<WithViewer>,
    slug: string | null,
    manuscript: Manuscript,
    { status, formKey, version }: { status: ArticleStatus; formKey: string; version: number | undefined },
  ): Promise<Article> {
    const { userId, sessionId } = c.var;
    const { title, description, body, tags } = manuscript;
    const publishAt = status === "scheduled" && manuscript.publishAt !== "" ? timeOf(manuscript.publishAt) : null;
    const fields = { title, description, body, tagList: tags, status, publishAt };
    const { article } = parse(NewArticleBody, { article: fields }, "article");
    writeLimits.count(c, "articles", userId);
    writeLimits.count(c, "article-bytes", userId, Buffer.byteLength(article.body));
    const session = { userId, sessionId };
    if (slug === null) {
      const created = await createOnce(db, session, ...onceFor(formKey, article), async (queries) => {
        const { article: value, changed } = await createArticle(queries, session, article);
        return { value: { article: value }, changed };
      });
      await memory.changed(created.changed);
      return (JSON.parse(created.text) as { article: Article }).article;
    }
    const written = await changeArticle(db, session, slug, article, {
      ifVersions: version === undefined ? null : [version],
      // Otherwise, a form from before a publication would withdraw the article, as its text has the same version.
      ifStatuses: manuscript.status && [manuscript.status, status],
    });
    await memory.changed(written.changed);
    return written.article;
  }

  return new Hono()
    .get("/editor", sessions.requireViewer, (c) =>
      show(c, web, editorPage, { slug: null, formKey: newFormKey(), manuscript: BLANK }),
    )

    .post("/editor", sameOrigin, sessions.optionalViewer, (c) => submit(c, null))

    .get("/editor/:slug", sessions.requireViewer, async (c) => {
      const slug = c.req.param("slug");
      const { article } = (await findArticle(db, c.var.viewer.id, slug)).value;
      if (article.author.username !== c.var.viewer.username) throw forbidden("article");
      const { version, status } = article;
      const props = { slug, formKey: newFormKey(), version, manuscript: manuscriptOf(article) };
      return show(c, web, editorPage, props, { isPersonal: status !== "published" });
    })

    .post("/editor/:slug", sameOrigin, sessions.optionalViewer, (c) => submit(c, c.req.param("slug")))

    .get("/drafts", sessions.requireViewer, async (c) => {
      const filters = parse(DraftsQuery, { cursor: c.req.query("cursor") }, "drafts");
      const drafts = await listDrafts(db, c.var.viewer.id, filters);
      return show(c, web, draftsPage, { drafts, isFirst: filters.cursor === undefined }, { isPersonal: true });
    });
}

const manuscriptOf = ({ title, description, body, tagList, publishAt, status }: Article): Manuscript => ({
  title,
  description,
  body,
  tags: tagList,
  publishAt: fieldOf(publishAt),
  status,
});

const GONE =
  "This article was deleted, or has another title and address by now. Your text is still here: copy it before you leave.";

/** The version that the form began with; undefined if it has none. */
function versionIn(fields: URLSearchParams): number | undefined {
  const version = textOf(fields, "version");
  return /^[0-9]{1,9}$/.test(version) ? Number(version) : undefined;
}

/** What the form has. A tag that was typed but not added counts; several are separated by commas. */
function manuscriptIn(fields: URLSearchParams, slug: string | null): Manuscript {
  const typed = textOf(fields, "tag").split(",");
  const tags = normaliseTags([...fields.getAll("tagList"), ...typed]);
  return {
    title: textOf(fields, "title"),
    description: textOf(fields, "description"),
    body: textOf(fields, "body"),
    tags: tags.filter((tag) => tag !== fields.get("without")),
    publishAt: textOf(fields, "publishAt"),
    // Of a new article, the form can say nothing true.
    status: (slug === null ? undefined : STATUSES.find((status) => status === fields.get("status"))) ?? null,
  };
}

/** What the button that sent the form asks for; undefined for those that do not save. */
function statusWanted(fields: URLSearchParams): ArticleStatus | undefined {
  if (fields.has("publish")) return "published";
  if (fields.has("schedule")) return "scheduled";
  return fields.has("save") ? "draft" : undefined;
}

/** The value of `datetime-local`, which has no time zone and maybe no seconds (HTML, 2.3.5.6), as a time in UTC. */
const timeOf = (field: string): string => `${field.length === "2026-01-31T12:34".length ? `${field}:00` : field}Z`;

/** The reverse, to the minute. */
const fieldOf = (time: string | null): string => time?.slice(0, "2026-01-31T12:34".length) ?? "";
