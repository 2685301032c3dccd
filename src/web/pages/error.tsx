import type { Frame } from "../app.ts";
import { Layout } from "../layout.tsx";
import type { Page } from "../page.ts";

/** What went wrong, and what to do. */
export type Explanation = { readonly title: string; readonly text: string };

export function errorPage({ frame, title, text }: Explanation & { frame: Frame }): Page {
  return (
    <Layout title={title} frame={frame} width="narrow">
      <h1>{title}</h1>
      <p>{text}</p>
      <p>
        <a class="link" href="/">
          Go to the newest articles
        </a>
      </p>
    </Layout>
  );
}
