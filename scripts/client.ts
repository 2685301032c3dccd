// npm run client: writes the OpenAPI document and the generated source of packages/client, and compiles the package into
// packages/client/dist. `npm run check` compares the generated files with the routes.

import { join } from "node:path";
import type { Database } from "../src/db/pool.ts";
import type { JsonObject, OpenApiDocument } from "../src/http/openapi.ts";
import { conduitDocument } from "../src/web/docs/document.ts";
import { testApp } from "../test/support/harness.ts";

const root = join(import.meta.dir, "..");
const folder = "packages/client";

/** Returns a message for every generated file that differs from what the routes describe. */
export async function clientDrift(): Promise<string[]> {
  const problems: string[] = [];
  for (const [path, text] of Object.entries(await generateClient())) {
    const file = Bun.file(join(root, path));
    if (!(await file.exists()) || (await file.text()) !== text) {
      problems.push(`${path} does not match the routes: run npm run client, and commit the result`);
    }
  }
  return problems;
}

async function generateClient(): Promise<Record<string, string>> {
  // The document does not depend on the database.
  const document = conduitDocument(testApp({} as Database).routes);
  const files = {
    "openapi.json": JSON.stringify(document),
    "src/types.ts": typesOf(document),
    "src/operations.ts": operationsOf(document),
  };
  const formatted = Object.entries(files).map(async ([name, text]) => {
    const path = `${folder}/${name}`;
    return [path, await format(path, text)] as const;
  });
  return Object.fromEntries(await Promise.all(formatted));
}

async function format(path: string, text: string): Promise<string> {
  const biome = Bun.spawn([join(root, "node_modules/.bin/biome"), "format", `--stdin-file-path=${path}`], {
    cwd: root,
    stdin: new Blob([text]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([biome.stdout.text(), biome.stderr.text()]);
  if ((await biome.exited) !== 0) throw new Error(`biome could not format ${path}: ${err}`);
  return out;
}

const NOTICE = "// Generated from the routes by `npm run client`. Do not edit.";

function typesOf(document: OpenApiDocument): string {
  const types = Object.entries(document.components.schemas).map(
    ([name, schema]) => `${comment(schema.description)}export type ${name} = ${typeOf(schema)};`,
  );
  return `${NOTICE}\n\n${types.join("\n\n")}\n`;
}

function operationsOf(document: OpenApiDocument): string {
  const functions = Object.entries(document.paths)
    .flatMap(([path, methods]) =>
      Object.entries(methods).flatMap(([method, operation]) => functionOf(method, path, operation) ?? []),
    )
    .join("\n\n");
  const code = functions.replace(/\/\*\*.*?\*\//gs, "");
  const used = Object.keys(document.components.schemas).filter((name) => new RegExp(`\\b${name}\\b`).test(code));
  return `${NOTICE}

import type { Call, CallOptions } from "./request.ts";
import type { ${used.join(", ")} } from "./types.ts";

/** The operations of the API. \`call\` sends their requests. */
export function operationsOf(call: Call) {
  return {
${functions}
  };
}
`;
}

/** The member of the client for an operation. Undefined if the operation does not respond with JSON of a known shape. */
function functionOf(method: string, path: string, operation: JsonObject): string | undefined {
  const results = Object.entries(operation.responses as Record<string, JsonObject>)
    .filter(([status]) => status.startsWith("2"))
    .map(([, response]) => (response.content === undefined ? "void" : jsonType(response)));
  if (results.includes(undefined) || results.includes(ANY_OBJECT)) return undefined;

  // Headers are among the options of a call.
  const parameters = ((operation.parameters ?? []) as JsonObject[]).filter((parameter) => parameter.in !== "header");
  const fields = parameters.map(
    ({ name, required, schema, description }) =>
      `${comment(description)}${name}${required ? "" : "?"}: ${typeOf(schema as JsonObject)}${required ? "" : " | undefined"};`,
  );
  const body = operation.requestBody === undefined ? undefined : jsonType(operation.requestBody as JsonObject);
  if (body !== undefined) fields.push(`body: ${body};`);
  const isOptional = body === undefined && parameters.every(({ required }) => required !== true);
  const args = fields.length === 0 ? "" : `args${isOptional ? "?" : ""}: {\n${fields.join("\n")} }, `;

  const operationId = operation.operationId as string;
  const name = operationId.charAt(0).toLowerCase() + operationId.slice(1);
  const result = [...new Set(results)].join(" | ");
  return `${comment(`${operation.summary}. ${operation.description}`)}${name}: (${args}options?: CallOptions): Promise<${result}> =>
    call("${method.toUpperCase()}", "${path}", ${fields.length === 0 ? "{}" : "args"}, options),`;
}

function jsonType(holder: JsonObject): string | undefined {
  const schema = (holder.content as Record<string, JsonObject>)["application/json"]?.schema;
  return schema === undefined ? undefined : typeOf(schema as JsonObject);
}

const ANY_OBJECT = "Record<string, unknown>";

/** The TypeScript type for a JSON Schema. Throws an error for a schema that no route uses so far. */
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
        if (schema.additionalProperties === undefined) return ANY_OBJECT;
        return `Record<string, ${typeOf(schema.additionalProperties as JsonObject)}>`;
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
  throw new Error(`the client generator does not support ${JSON.stringify(schema)}`);
}

const comment = (text: unknown): string =>
  typeof text === "string" ? `/** ${text.replaceAll("*/", "*\\/")} */\n` : "";

async function compile(): Promise<void> {
  const tsc = Bun.spawn([join(root, "node_modules/.bin/tsc"), "--project", join(root, folder)], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  if ((await tsc.exited) !== 0) throw new Error("the client does not compile");
}

if (import.meta.main) {
  for (const [path, text] of Object.entries(await generateClient())) await Bun.write(join(root, path), text);
  await compile();
}
