import packageJson from "../../../package.json" with { type: "json" };
import { type OpenApiDocument, openApiDocument } from "../../http/openapi.ts";

/** The groups of operations, in the order in which a reader needs them. */
const TAGS: readonly { name: string; description: string }[] = [
  { name: "User and Authentication", description: "Register, sign in, and read or change the current user" },
  { name: "Sessions", description: "Refresh access tokens, list the devices that are signed in, and sign them out" },
  { name: "Accounts", description: "Verify an email address and reset a forgotten password" },
  { name: "Profile", description: "Read public profiles, and follow or unfollow users" },
  { name: "Articles", description: "Read, create, update and delete articles" },
  { name: "Revisions", description: "Read, compare and restore the former versions of your articles" },
  { name: "Favorites", description: "Favorite and unfavorite articles" },
  { name: "Search", description: "Search articles, and suggest what to search for" },
  { name: "Comments", description: "Read, create and delete comments on articles" },
  { name: "Tags", description: "List the tags that articles use" },
  { name: "Operations", description: "Health checks for load balancers and process managers" },
  { name: "Documentation", description: "The API's description of itself" },
  { name: "Pages", description: "HTML pages that the links in emails open" },
];

/**
 * The OpenAPI document of everything that the application serves.
 * @param basePath the path of `BASE_URL`, such as `/conduit`
 */
export function conduitDocument(routes: Parameters<typeof openApiDocument>[1], basePath = "/"): OpenApiDocument {
  const document = openApiDocument(
    {
      openapi: "3.1.0",
      info: {
        title: "Conduit",
        version: packageJson.version,
        summary: "The RealWorld API",
        description: DESCRIPTION,
        contact: { name: "The Conduit authors" },
        license: { name: "MIT", identifier: "MIT" },
      },
      servers: [{ url: basePath }],
    },
    routes,
  );
  const used = new Set(
    Object.values(document.paths).flatMap((operations) =>
      Object.values(operations).flatMap((operation) => operation.tags as string[]),
    ),
  );
  return { ...document, tags: TAGS.filter(({ name }) => used.has(name)) as OpenApiDocument["tags"] };
}

const DESCRIPTION = `Articles, comments, favourites and follows: the [RealWorld](https://github.com/gothinkster/realworld) API, with sessions, email verification and password reset in addition.

**Errors** have the same format for every status: \`{"errors": {"<field>": ["<problem>"]}}\`.

**Tokens.** Where authentication is optional, an invalid token counts as no token. The response then has the header \`WWW-Authenticate: Bearer error="invalid_token"\`.

**Unknown fields** in request bodies are ignored. Responses may gain fields in later versions.`;
