import { ApiError } from "../../http/errors.ts";
import { etagOf } from "../../http/validation.ts";
import type { Article } from "./schema.ts";

/** The 412 for a write on an article that has changed since its author read it. It shows the newest version. */
export class StaleArticle extends ApiError {
  constructor(readonly article: Article) {
    super(
      "precondition_failed",
      { article: [`has changed, its version is now ${article.version}`] },
      { ETag: etagOf(JSON.stringify({ article }), article.version) },
    );
  }

  override body(): string {
    return JSON.stringify({ errors: this.errors, article: this.article });
  }
}
