import cooking from "./content/cooking.md" with { type: "text" };
import gardens from "./content/gardens.md" with { type: "text" };
import making from "./content/making.md" with { type: "text" };
import software from "./content/software.md" with { type: "text" };
import travel from "./content/travel.md" with { type: "text" };
import world from "./content/world.md" with { type: "text" };

export type DemonstrationComment = { readonly author: string; readonly body: string };

export type DemonstrationArticle = {
  readonly collection: string;
  readonly title: string;
  readonly author: string;
  readonly tags: readonly string[];
  readonly description: string;
  /** Markdown. */
  readonly body: string;
  /** Oldest first. */
  readonly comments: readonly DemonstrationComment[];
};

/** The articles of the demonstration content, in the order of the files. */
export function readCollections(): DemonstrationArticle[] {
  return Object.entries({ software, gardens, travel, cooking, making, world }).flatMap(([collection, text]) =>
    text
      .split(/^=== /m)
      .slice(1)
      .map((entry) => readArticle(collection, entry)),
  );
}

/** An entry of a file: `=== Title`, `by:`, `tags:` and `about:`, the body, `--- comments`, and a list of `name: comment`. */
function readArticle(collection: string, entry: string): DemonstrationArticle {
  const [article = "", comments = ""] = entry.split(/^--- comments\n/m);
  const [, title, author, tags, description, body] =
    /^(.+)\nby: (.+)\ntags: (.+)\nabout: (.+)\n\n([\s\S]+)$/.exec(article) ?? [];
  if (!title || !author || !tags || !description || !body) {
    throw new Error(`content/${collection}.md: cannot read the entry ${JSON.stringify(entry.slice(0, 60))}`);
  }
  return {
    collection,
    title,
    author,
    tags: tags.split(", "),
    description,
    body: body.trim(),
    comments: comments
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => {
        const [, author, body] = /^- ([a-z-]+): (.+)$/.exec(line) ?? [];
        if (!author || !body)
          throw new Error(`content/${collection}.md: cannot read the comment ${JSON.stringify(line)}`);
        return { author, body };
      }),
  };
}
