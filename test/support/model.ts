import { slugBase } from "../../src/features/articles/rules.ts";
import { textFacts } from "../../src/features/articles/text-facts.ts";
import type { ArticleJson, CommentJson, ProfileJson } from "./harness.ts";

/** What a test checks of a response besides its status. */
export type Expected = { status: number; article?: ArticleJson; comment?: CommentJson; profile?: ProfileJson };

type Person = { username: string; bio: string | null; follows: Set<Person> };
type Article = {
  slug: string;
  formerSlugs: Set<string>;
  title: string;
  description: string;
  body: string;
  tagList: string[];
  createdAt: string;
  publishedAt: string;
  updatedAt: string;
  author: Person;
  favoritedBy: Set<Person>;
  comments: { json: Omit<CommentJson, "author">; author: Person }[];
};
type Fields = { title?: string; description?: string; body?: string; tagList?: string[] };
export type Filters = { tag?: string; author?: string; favorited?: string; limit?: number; offset?: number };

/**
 * The API as a few plain objects in memory, which predict every response after any sequence of writes. The model takes what
 * the server is free to choose (paths, times, ids) from its responses, and checks it against the rules.
 */
export class Model {
  readonly people: Person[];
  /** The oldest first. */
  articles: Article[] = [];

  constructor(usernames: readonly string[]) {
    this.people = usernames.map((username) => ({ username, bio: null, follows: new Set() }));
  }

  person(i: number): Person {
    return this.people[i % this.people.length] as Person;
  }

  /** Any article, or undefined if there are none. */
  article(i: number): Article | undefined {
    return this.articles[i % Math.max(1, this.articles.length)];
  }

  profile(person: Person, viewer: Person | undefined): ProfileJson {
    const following = viewer?.follows.has(person) ?? false;
    return { username: person.username, bio: person.bio, image: null, following };
  }

  articleJson(article: Article, viewer: Person | undefined): ArticleJson {
    const { author, favoritedBy, comments: _, formerSlugs: __, ...own } = article;
    return {
      ...own,
      ...textFacts(own.body),
      favorited: viewer !== undefined && favoritedBy.has(viewer),
      favoritesCount: favoritedBy.size,
      author: this.profile(author, viewer),
    };
  }

  commentsJson(article: Article, viewer: Person | undefined): CommentJson[] {
    return article.comments.map(({ json, author }) => ({ ...json, author: this.profile(author, viewer) })).reverse();
  }

  /** The page and the count of a list, for a viewer. */
  list(filters: Filters, viewer: Person | undefined) {
    return this.#page(filters, viewer, (article) => {
      const isFavoritedBy = (username: string) =>
        [...article.favoritedBy].some((person) => isSame(person.username, username));
      return (
        (filters.tag === undefined || article.tagList.includes(filters.tag)) &&
        (filters.author === undefined || isSame(article.author.username, filters.author)) &&
        (filters.favorited === undefined || isFavoritedBy(filters.favorited))
      );
    });
  }

  feed(page: Filters, viewer: Person) {
    return this.#page(page, viewer, (article) => viewer.follows.has(article.author));
  }

  #page({ limit = 20, offset = 0 }: Filters, viewer: Person | undefined, matches: (article: Article) => boolean) {
    const all = this.articles.filter(matches).reverse();
    const articles = all.slice(offset, offset + limit).map((article) => {
      const { body: _, ...inList } = this.articleJson(article, viewer);
      return inList;
    });
    return { articles, articlesCount: all.length, hasNextPage: all.length > offset + limit };
  }

  tags(): string[] {
    const counts = new Map<string, number>();
    for (const tag of this.articles.flatMap(({ tagList }) => tagList)) counts.set(tag, (counts.get(tag) ?? 0) + 1);
    return [...counts.keys()].sort(
      (a, b) => (counts.get(b) ?? 0) - (counts.get(a) ?? 0) || Buffer.compare(Buffer.from(a), Buffer.from(b)),
    );
  }

  /** Publishes an article, with the path and the time that the server chose. */
  publish(author: Person, fields: Required<Fields>, { slug, createdAt }: ArticleJson): Article {
    this.#checkPath(slug, fields.title, undefined);
    const article: Article = {
      ...fields,
      tagList: [...new Set(fields.tagList)],
      slug,
      formerSlugs: new Set(),
      createdAt,
      publishedAt: createdAt,
      updatedAt: createdAt,
      author,
      favoritedBy: new Set(),
      comments: [],
    };
    this.articles.push(article);
    return article;
  }

  edit(article: Article, fields: Fields, { slug, updatedAt }: ArticleJson): void {
    const { title = article.title, tagList = article.tagList } = fields;
    const staysInPlace = slugBase(title) === slugBase(article.title);
    if (staysInPlace && slug !== article.slug) throw new Error(`the path moved from ${article.slug} to ${slug}`);
    if (!staysInPlace) this.#checkPath(slug, title, article);
    const isEdit = Object.keys(fields).length > 0;
    if (isEdit !== updatedAt > article.updatedAt)
      throw new Error(`updatedAt went ${article.updatedAt} to ${updatedAt}`);
    if (slug !== article.slug) {
      article.formerSlugs.add(article.slug);
      article.formerSlugs.delete(slug);
    }
    Object.assign(article, { ...fields, tagList: [...new Set(tagList)], slug, updatedAt });
  }

  /** The plain path if it is free, otherwise one with a suffix. */
  #checkPath(slug: string, title: string, itself: Article | undefined): void {
    const base = slugBase(title);
    const isTaken =
      base === "feed" ||
      this.articles.some((other) => other !== itself && (other.slug === base || other.formerSlugs.has(base)));
    const isGood = isTaken ? new RegExp(`^${base}-[0-9a-z]{8}$`).test(slug) : slug === base;
    if (!isGood) throw new Error(`the path of "${title}" is ${slug}`);
  }

  /** Whether another person has this name. */
  isTaken(username: string, person: Person): boolean {
    return this.people.some((other) => other !== person && isSame(other.username, username));
  }
}

/** Sufficient for the names of this test. */
const isSame = (one: string, other: string): boolean => one.toLowerCase() === other.toLowerCase();
