import { assetPath } from "../assets.ts";
import { Layout } from "../layout.tsx";
import type { Page } from "../page.ts";

/** Swagger UI sets inline styles, and its style sheet contains images as data. Requests go to this server only. */
export const API_REFERENCE_POLICY = {
  "script-src": "'self'",
  "style-src": "'self' 'unsafe-inline'",
  "img-src": "'self' data:",
  "connect-src": "'self'",
};

/** The OpenAPI document for people, shown by Swagger UI. */
export function apiReferencePage(): Page {
  return (
    <Layout
      title="API reference"
      description="Every operation of the Conduit API, with its parameters, responses and errors."
      width="full"
      head={
        <>
          <link rel="stylesheet" href={assetPath("swagger-ui.css")} />
          <script defer src={assetPath("swagger-ui.js")} />
          <script defer src={assetPath("api-reference.js")} />
        </>
      }
    >
      <div id="api-reference" data-document="/openapi.json">
        <noscript>
          This page needs JavaScript. You can also read the <a href="/openapi.json">OpenAPI document</a>.
        </noscript>
      </div>
    </Layout>
  );
}
