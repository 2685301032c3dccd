import packageJson from "../../../package.json" with { type: "json" };
import { type OpenApiDocument, openApiDocument } from "../../http/openapi.ts";

/** In the order in which a reader meets them; what is not here comes behind. */
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
  const document = openApiDocument(
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
    },
    routes,
  );
  const used = Object.values(document.paths).flatMap((operations) =>
    Object.values(operations).map((operation) => (operation.tags as string[])[0] as string),
  );
  const tags = [...new Set([...TAGS.filter((tag) => used.includes(tag)), ...used])];
  return { ...document, tags: tags.map((name) => ({ name })) };
}
