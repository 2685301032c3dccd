import packageJson from "../../package.json" with { type: "json" };
import { type OpenApiDocument, openApiDocument } from "../platform/openapi.ts";

const TAGS = [
  "User and Authentication",
  "Sessions",
  "Profile",
  "Articles",
  "Favorites",
  "Comments",
  "Tags",
  "Operations",
  "Documentation",
];

/** The document of everything that an application serves. */
export function conduitDocument(routes: Parameters<typeof openApiDocument>[1]): OpenApiDocument {
  return openApiDocument(
    {
      openapi: "3.1.0",
      info: {
        title: "Conduit",
        version: packageJson.version,
        summary: "The RealWorld API",
        description:
          'Articles, comments, favourites and follows: the API of [RealWorld](https://github.com/gothinkster/realworld), with some more. Errors are `{"errors": {"<field>": ["<what is wrong>"]}}` whatever the status. Where signing in is optional, a token that does not count is as none, and the answer says so in `WWW-Authenticate`.',
        license: { name: "MIT", identifier: "MIT" },
      },
      servers: [{ url: "/" }],
      // In the order in which a reader meets them.
      tags: TAGS.map((name) => ({ name })),
    },
    routes,
  );
}
