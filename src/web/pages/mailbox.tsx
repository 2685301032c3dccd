import type { KeptMessage } from "../../mail/mailbox.ts";
import { Layout } from "../layout.tsx";
import type { Page } from "../page.ts";

/** The list of emails, newest first. */
export function mailboxPage(messages: { name: string; message: KeptMessage }[]): Page {
  return (
    <Layout title="Mailbox">
      <h1>Mailbox</h1>
      <p class="muted">
        No mail server is configured, so emails are kept here instead of being sent. To send them, set{" "}
        <code>SMTP_URL</code>.
      </p>
      {messages.length === 0 ? <p>No emails yet.</p> : null}
      <ul class="list">
        {messages.map(({ name, message }) => (
          <li>
            <a href={`/dev/mail/${name}`}>
              <strong>{message.subject}</strong>
              <span class="muted">
                {message.to} · <ArrivalTime iso={message.arrivedAt} />
              </span>
            </a>
          </li>
        ))}
      </ul>
    </Layout>
  );
}

/** One email: its HTML in a sandboxed frame, and its plain text. */
export function mailPage(name: string, message: KeptMessage): Page {
  return (
    <Layout title={message.subject}>
      <p class="muted">
        <a class="link" href="/dev/mail">
          All emails
        </a>
      </p>
      <h1>{message.subject}</h1>
      <p class="muted">
        To {message.to} · <ArrivalTime iso={message.arrivedAt} />
      </p>
      <iframe
        src={`/dev/mail/${name}/html`}
        title="The email as HTML"
        sandbox="allow-popups allow-popups-to-escape-sandbox"
      />
      <h2>Plain text</h2>
      <pre>
        <WithLinks text={message.text} />
      </pre>
    </Layout>
  );
}

function ArrivalTime({ iso }: { iso: string }) {
  return <time datetime={iso}>{iso.slice(0, 19).replace("T", " ")} UTC</time>;
}

function WithLinks({ text }: { text: string }) {
  // With the separators in a group, every second part is a separator.
  const parts = text.split(/(https?:\/\/\S+)/);
  return (
    <>
      {parts.map((part, i) =>
        i % 2 === 1 ? (
          <a class="link" href={part}>
            {part}
          </a>
        ) : (
          part
        ),
      )}
    </>
  );
}
