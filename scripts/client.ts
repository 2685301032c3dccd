// npm run client: writes packages/client/openapi.json and packages/client/conduit.ts from the routes. `npm run check` compares.

import { join } from "node:path";
import type { Database } from "../src/db/pool.ts";
import type { JsonObject, OpenApiDocument } from "../src/http/openapi.ts";
import { conduitDocument } from "../src/web/docs/document.ts";
import { testApp } from "../test/support/harness.ts";

const root = join(import.meta.dir, "..");

/** The generated files that are not as the routes would have them. */
export async function clientDrift(): Promise<string[]> {
  const faults: string[] = [];
  for (const [path, text] of Object.entries(await generateClient())) {
    const file = Bun.file(join(root, path));
    if (!(await file.exists()) || (await file.text()) !== text) {
      faults.push(`${path} is not what the routes say: run npm run client, and commit it`);
    }
  }
  return faults;
}

async function generateClient(): Promise<Record<string, string>> {
  // The document does not depend on the database.
  const document = conduitDocument(testApp({} as Database).routes);
  return {
    "packages/client/openapi.json": await formatted("openapi.json", JSON.stringify(document)),
    "packages/client/conduit.ts": await formatted("conduit.ts", clientOf(document)),
  };
}

async function formatted(name: string, text: string): Promise<string> {
  const biome = Bun.spawn(
    [join(root, "node_modules/.bin/biome"), "format", `--stdin-file-path=packages/client/${name}`],
    {
      cwd: root,
      stdin: new Blob([text]),
      stdout: "pipe",
      stderr: "pipe",
    },
  );
  const [out, err] = await Promise.all([biome.stdout.text(), biome.stderr.text()]);
  if ((await biome.exited) !== 0) throw new Error(`biome could not format ${name}: ${err}`);
  return out;
}

function clientOf(document: OpenApiDocument): string {
  const types = Object.entries(document.components.schemas).map(
    ([name, schema]) => `${comment(schema.description)}export type ${name} = ${typeOf(schema)};`,
  );
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, operation]) => functionOf(method, path, operation) ?? []),
  );
  return `// Made by \`npm run client\` from the API's own description (openapi.json): not to be edited.

${types.join("\n\n")}

${RUNTIME.replace("/* operations */", operations.join("\n\n"))}`;
}

/** The member of the client for an operation; undefined where it does not answer with JSON. */
function functionOf(method: string, path: string, operation: JsonObject): string | undefined {
  const answers = Object.entries(operation.responses as Record<string, JsonObject>)
    .filter(([status]) => status.startsWith("2"))
    .map(([, response]) => (response.content === undefined ? "void" : jsonType(response)));
  if (answers.includes(undefined)) return undefined;

  const parameters = (operation.parameters ?? []) as JsonObject[];
  const fields = parameters.map(
    ({ name, required, schema, description }) =>
      `${comment(description)}${name}${required ? "" : "?"}: ${typeOf(schema as JsonObject)};`,
  );
  const body = operation.requestBody === undefined ? undefined : jsonType(operation.requestBody as JsonObject);
  if (body !== undefined) fields.push(`body: ${body};`);
  const optional = body === undefined && parameters.every(({ required }) => required !== true);
  const args = fields.length === 0 ? "" : `args: {\n${fields.join("\n")} }${optional ? " = {}" : ""}`;

  const operationId = operation.operationId as string;
  const name = operationId.charAt(0).toLowerCase() + operationId.slice(1);
  const about = [operation.summary, operation.description].filter((text) => text !== undefined).join(". ");
  const answer = [...new Set(answers)].join(" | ");
  return `${comment(`${about}${about.endsWith(".") ? "" : "."}`)}${name}: (${args}): Promise<${answer}> =>
    call<${answer}>("${method.toUpperCase()}", "${path}"${fields.length === 0 ? "" : ", args"}),`;
}

function jsonType(holder: JsonObject): string | undefined {
  const schema = (holder.content as Record<string, JsonObject>)["application/json"]?.schema;
  return schema === undefined ? undefined : typeOf(schema as JsonObject);
}

/** TypeScript's type for a JSON Schema, as far as the document uses it. Throws for what it does not know. */
function typeOf(schema: JsonObject): string {
  if (typeof schema.$ref === "string") return schema.$ref.split("/").at(-1) as string;
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (Array.isArray(schema.anyOf)) return schema.anyOf.map((one) => `(${typeOf(one as JsonObject)})`).join(" | ");
  if (Array.isArray(schema.type)) return schema.type.map((type) => typeOf({ ...schema, type })).join(" | ");
  switch (schema.type) {
    case "string":
    case "boolean":
    case "null":
      return schema.type;
    case "integer":
    case "number":
      return "number";
    case "array":
      return `(${typeOf(schema.items as JsonObject)})[]`;
    case "object": {
      if (schema.properties === undefined) {
        return `Record<string, ${typeOf((schema.additionalProperties ?? {}) as JsonObject)}>`;
      }
      const required = (schema.required ?? []) as string[];
      const members = Object.entries(schema.properties as Record<string, JsonObject>).map(
        ([name, member]) =>
          `${comment(member.description)}${name}${required.includes(name) ? "" : "?"}: ${typeOf(member)};`,
      );
      return `{\n${members.join("\n")} }`;
    }
    case undefined:
      if (Object.keys(schema).every((name) => name === "description")) return "unknown";
  }
  throw new Error(`the client's generator does not know ${JSON.stringify(schema)}`);
}

const comment = (text: unknown): string =>
  typeof text === "string" ? `/** ${text.replaceAll("*/", "*\\/")} */\n` : "";

const RUNTIME = `/** An answer that is no success. */
export class ConduitError extends Error {
  override readonly name = "ConduitError";

  constructor(
    readonly status: number,
    /** What is wrong, by the name of the field, parameter or resource; empty where the answer was not the API's. */
    readonly errors: Record<string, string[]>,
    /** For \`Retry-After\`, \`WWW-Authenticate\` and the like. */
    readonly headers: Headers,
    what: string,
  ) {
    super(what);
  }
}

export type ClientOptions = {
  /** Of the server, without \`/api\`, as in \`https://conduit.example.com\`. */
  baseUrl: string;
  /** Of a registration or login. A function is asked at each request. */
  token?: string | (() => string | undefined);
  /** Instead of the global \`fetch\`, for retries, tests and the like. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
};

export type Client = ReturnType<typeof operationsBy> & {
  /** The same server, for somebody else. */
  withToken(token: string): Client;
};

/** A client of one server. Its functions resolve to the body of the answer, and throw \`ConduitError\` for any that is no success. */
export function createClient(options: ClientOptions): Client {
  return { ...operationsBy(caller(options)), withToken: (token) => createClient({ ...options, token }) };
}

function operationsBy(call: ReturnType<typeof caller>) {
  return {
    /* operations */
  };
}

function caller({ baseUrl, token, fetch: send = (url, init) => fetch(url, init) }: ClientOptions) {
  return async function call<Answer>(method: string, template: string, args: Record<string, unknown> = {}) {
    const { body, ...rest } = args;
    const path = template.replace(/\\{(\\w+)\\}/g, (_, name: string) => {
      const value = encodeURIComponent(String(rest[name]));
      delete rest[name];
      return value;
    });
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(rest)) if (value !== undefined) query.set(name, String(value));
    const credential = typeof token === "function" ? token() : token;
    const response = await send(\`\${baseUrl.replace(/\\/$/, "")}\${path}\${query.size > 0 ? \`?\${query}\` : ""}\`, {
      method,
      headers: {
        Accept: "application/json",
        ...(credential === undefined ? {} : { Authorization: \`Bearer \${credential}\` }),
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get("Content-Type")?.startsWith("application/json") === true;
    const json: unknown = isJson && text !== "" ? JSON.parse(text) : undefined;
    if (response.ok) return json as Answer;
    const errors = (json as { errors?: Record<string, string[]> } | undefined)?.errors ?? {};
    const faults = Object.entries(errors).flatMap(([name, messages]) => messages.map((message) => \`\${name} \${message}\`));
    const what = \`\${method} \${path}: \${response.status} \${faults.join("; ") || response.statusText}\`;
    throw new ConduitError(response.status, errors, response.headers, what);
  };
}
`;

if (import.meta.main) {
  for (const [path, text] of Object.entries(await generateClient())) await Bun.write(join(root, path), text);
}
