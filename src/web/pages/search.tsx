import type { SearchResults } from "../../features/articles/search/schema.ts";
import type { Frame } from "../app.ts";
import { Layout } from "../layout.tsx";
import type { Page } from "../page.ts";
import { Preview } from "../parts/article.tsx";
import { Field, Problems } from "../parts/form.tsx";
import { SEARCH_PATH } from "../parts/navigation.tsx";

/** What the form has, as it was typed. */
export type SearchForm = { readonly q: string; readonly tag: string; readonly author: string };

type SearchProps = {
  frame: Frame;
  form: SearchForm;
  /** Of a search that has been made. */
  results?: SearchResults;
  /** Whether these are the first results. */
  isFirst?: boolean;
  problems?: readonly string[];
};

export function searchPage({ frame, form, results, isFirst = true, problems }: SearchProps): Page {
  return (
    <Layout
      title={form.q === "" ? "Search" : `Search for ${form.q}`}
      description="Search the articles on Conduit."
      frame={frame}
      path={SEARCH_PATH}
      width="full"
    >
      <div class="container page wide">
        <h1>Search</h1>
        <Problems problems={problems} />
        <Form form={form} />
      </div>
      {results === undefined ? null : (
        <div class="container wide">
          <Results form={form} results={results} isFirst={isFirst} />
        </div>
      )}
    </Layout>
  );
}

function Form({ form: { q, tag, author } }: { form: SearchForm }) {
  return (
    <search>
      <form action={SEARCH_PATH}>
        <Field
          name="q"
          label="Words"
          type="search"
          value={q}
          autofocus={q === ""}
          maxlength={200}
          hint="All of them count. Quote a “whole phrase”, or exclude a word with -."
        />
        <div class="search-filters">
          <Field name="tag" label="With the tag" value={tag} maxlength={50} />
          <Field name="author" label="By the author" value={author} />
          <button class="btn btn-primary" type="submit">
            Search
          </button>
        </div>
      </form>
    </search>
  );
}

function Results({ form, results, isFirst }: { form: SearchForm; results: SearchResults; isFirst: boolean }) {
  const { articles, articlesCount, nextCursor, correctedQuery } = results;
  if (articlesCount === 0) {
    return (
      <p class="empty" role="status">
        No articles match “{form.q}”{form.tag === "" && form.author === "" ? "" : " with these filters"}.
      </p>
    );
  }
  return (
    <>
      <p class="muted" role="status">
        {correctedQuery === null ? null : `No articles match “${form.q}”. These match “${correctedQuery}”: `}
        {articlesCount === 1 ? "1 article" : `${articlesCount} articles`}
      </p>
      {articles.map((article) => (
        <Preview article={article} highlights={article.highlights} />
      ))}
      <nav class="search-pages" aria-label="Pages">
        {isFirst ? null : (
          <a class="btn" href={searchPath(form)}>
            First results
          </a>
        )}
        {nextCursor === null ? null : (
          <a class="btn" rel="next" href={searchPath({ ...form, q: correctedQuery ?? form.q }, nextCursor)}>
            More results
          </a>
        )}
      </nav>
    </>
  );
}

/** The address of results, without filters that are not set. */
function searchPath(form: SearchForm, cursor?: string): string {
  const set = Object.entries({ ...form, cursor: cursor ?? "" }).filter(([, value]) => value !== "");
  return `${SEARCH_PATH}?${new URLSearchParams(set)}`;
}
