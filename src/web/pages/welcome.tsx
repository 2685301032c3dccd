import { Layout } from "../layout.tsx";
import type { Page } from "../page.ts";

/** @param hasMailbox whether emails are kept in the development mailbox */
export function welcomePage({ version, hasMailbox }: { version: string; hasMailbox: boolean }): Page {
  return (
    <Layout title="Conduit" description="A RealWorld API server: articles, comments, favourites and follows.">
      <header class="banner">
        <h1>A RealWorld API server</h1>
        <p>Articles, comments, favourites and follows, for any RealWorld front end.</p>
      </header>
      <ul class="list">
        <Entry href="/docs" name="API reference" text="Read about every operation and try it out" />
        <Entry href="/openapi.json" name="OpenAPI document" text="Generate a client or import it into your tools" />
        <Entry href="/health" name="Health" text="Check whether the server and its database are running" />
        {hasMailbox ? (
          <Entry href="/dev/mail" name="Mailbox" text="Read the emails that this development server would send" />
        ) : null}
      </ul>
      <p class="muted">
        To connect a front end, set its API address to this server's address followed by <code>/api</code>.
      </p>
      <p class="muted">Version {version}</p>
    </Layout>
  );
}

function Entry({ href, name, text }: { href: string; name: string; text: string }) {
  return (
    <li>
      <a href={href}>
        <strong>{name}</strong>
        <span class="muted">{text}</span>
      </a>
    </li>
  );
}
