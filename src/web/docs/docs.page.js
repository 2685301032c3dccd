// The documentation page: /openapi.json, made to be read and tried. Runs in the browser, without a library and without
// HTML from strings, so that nothing in a document or an answer is ever taken for markup.

const METHODS = ["get", "post", "put", "patch", "delete"];
const openapi = await (await fetch("/openapi.json")).json();

/** An element. Children are elements or text; attributes that begin with "on" are listeners. */
function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

/** The little Markdown that descriptions have: `code` and [links](…). */
function prose(text = "") {
  return text
    .split(/(`[^`]+`|\[[^\]]+\]\(https?:[^)]+\))/)
    .filter((part) => part !== "")
    .map((part) => {
      if (part.startsWith("`")) return el("code", {}, part.slice(1, -1));
      const link = /^\[([^\]]+)\]\(([^)]+)\)$/.exec(part);
      return link ? el("a", { href: link[2], rel: "noreferrer" }, link[1]) : part;
    });
}

function resolve(schema) {
  if (schema?.$ref === undefined) return schema ?? {};
  return schema.$ref
    .slice(2)
    .split("/")
    .reduce((at, part) => at[part.replaceAll("~1", "/").replaceAll("~0", "~")], openapi);
}

/** A schema as people write shapes: JSON with types for values, and what else there is to know behind. */
function shape(written, indent = "") {
  const schema = resolve(written);
  const deeper = `${indent}  `;
  if (schema.anyOf) return schema.anyOf.map((one) => shape(one, indent)).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `[${shape(schema.items, indent)}, …]`;
  if (schema.properties) {
    const lines = Object.entries(schema.properties).map(([name, member]) => {
      const optional = schema.required?.includes(name) ? "" : "?";
      const note = remarks(resolve(member));
      return `${deeper}"${name}"${optional}: ${shape(member, deeper)}${note === "" ? "" : `  // ${note}`}`;
    });
    return `{\n${lines.join("\n")}\n${indent}}`;
  }
  if (schema.type === "object") return `{ "…": ${shape(schema.additionalProperties, indent)} }`;
  return [schema.type ?? "any"].flat().join(" | ") + (schema.format ? ` (${schema.format})` : "");
}

function remarks({ minLength, maxLength, minimum, maximum, default: fallback, description }) {
  const bounds = [];
  if (minLength > 0 && maxLength !== undefined) bounds.push(`${minLength} to ${maxLength} characters`);
  else if (maxLength !== undefined) bounds.push(`at most ${maxLength} characters`);
  else if (minLength > 0) bounds.push("not empty");
  if (minimum > 0) bounds.push(`from ${minimum}`);
  if (maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER) bounds.push(`up to ${maximum}`);
  if (fallback !== undefined) bounds.push(`${JSON.stringify(fallback)} if absent`);
  return [description, bounds.join(", ")].filter(Boolean).join("; ");
}

const SAMPLES = { email: "ann@example.com", username: "ann", password: "correct horse", tagList: ["example"] };

/** A body to begin with. */
function sample(written, name) {
  const schema = resolve(written);
  if (schema.properties) {
    return Object.fromEntries(Object.entries(schema.properties).map(([key, member]) => [key, sample(member, key)]));
  }
  if (SAMPLES[name] !== undefined) return SAMPLES[name];
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  const type = [schema.type].flat()[0];
  if (type === "array") return [sample(schema.items)];
  if (type === "integer" || type === "number") return schema.minimum ?? 1;
  if (type === "boolean") return false;
  return name === undefined ? "" : `A ${name}`;
}

const token = el("input", {
  class: "code",
  id: "token",
  placeholder: "taken over from a registration or login below",
  autocomplete: "off",
  spellcheck: "false",
});

function describeOperation(path, method, operation) {
  const inputs = new Map();
  const auth = operation.security?.some((way) => "Token" in way);
  const body = operation.requestBody?.content["application/json"]?.schema;

  const fields = (operation.parameters ?? []).flatMap((parameter) => {
    const id = `${operation.operationId}-${parameter.name}`;
    const input = el("input", { class: "code", id, placeholder: String(parameter.schema.default ?? "") });
    inputs.set(parameter, input);
    const about = [parameter.in === "path" ? "in the path" : "", parameter.description, remarks(parameter.schema)];
    const note = [shape(parameter.schema), ...about].filter(Boolean).join("; ");
    return [
      el("label", { for: id }, el("code", {}, parameter.name)),
      input,
      el("span", { class: "dim" }, ...prose(note)),
    ];
  });

  const text = body && JSON.stringify(sample(body), null, 2);
  const editor = body && el("textarea", { rows: text.split("\n").length, spellcheck: "false", "aria-label": "Body" });
  if (editor) editor.value = text;

  function request() {
    let target = path;
    const query = new URLSearchParams();
    for (const [parameter, { value }] of inputs) {
      if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(value));
      else if (value !== "") query.set(parameter.name, value);
    }
    if (query.size > 0) target += `?${query}`;
    const headers = {};
    if (auth && token.value !== "") headers.Authorization = `Bearer ${token.value}`;
    if (editor) headers["Content-Type"] = "application/json";
    return { target, headers, body: editor?.value };
  }

  const outcome = el("div", { "aria-live": "polite" });
  async function send() {
    const missing = [...inputs].find(([parameter, input]) => parameter.in === "path" && input.value === "");
    if (missing) return missing[1].focus();
    const { target, ...rest } = request();
    outcome.replaceChildren(el("span", { class: "dim" }, "…"));
    const started = performance.now();
    try {
      const answer = await fetch(target, { method: method.toUpperCase(), cache: "no-store", ...rest });
      const received = await answer.text();
      const tookMs = Math.round(performance.now() - started);
      const json = answer.headers.get("Content-Type")?.startsWith("application/json")
        ? JSON.parse(received)
        : undefined;
      if (typeof json?.user?.token === "string") keepToken(json.user.token);
      outcome.replaceChildren(
        el(
          "h4",
          {},
          el("b", { class: answer.ok ? "ok status" : "bad status" }, String(answer.status)),
          ` in ${tookMs} ms`,
        ),
        el("pre", { class: "answer" }, (json === undefined ? received : JSON.stringify(json, null, 2)) || "(no body)"),
      );
    } catch (error) {
      outcome.replaceChildren(el("p", { class: "bad" }, String(error)));
    }
  }

  async function copyCurl() {
    const { target, headers, body: data } = request();
    const quote = (value) => `'${value.replaceAll("'", "'\\''")}'`;
    const parts = [`curl -X ${method.toUpperCase()} ${quote(location.origin + target)}`];
    for (const [name, value] of Object.entries(headers)) parts.push(`-H ${quote(`${name}: ${value}`)}`);
    if (data !== undefined) parts.push(`-d ${quote(data)}`);
    const command = parts.join(" \\\n  ");
    outcome.replaceChildren(el("pre", {}, command));
    // Not there over plain HTTP from another machine: the command stands on the page all the same.
    await navigator.clipboard?.writeText(command).catch(() => {});
  }

  const answers = Object.entries(operation.responses).map(([status, response]) => {
    const content = Object.entries(response.content ?? {});
    const line = [
      el("b", { class: status < "300" ? "ok" : "bad" }, status),
      ` ${response.description}`,
      ...Object.keys(response.headers ?? {}).map((name) => el("span", { class: "dim" }, ` · ${name}`)),
    ];
    if (content.length === 0) return el("div", {}, ...line);
    const shapes = content.map(([type, { schema }]) => el("pre", {}, schema ? shape(schema) : type));
    return el("details", {}, el("summary", {}, ...line), ...shapes);
  });

  return el(
    "article",
    { id: operation.operationId },
    el(
      "h3",
      {},
      el("span", { class: `method ${method}` }, method),
      el("code", {}, path),
      el("span", { class: "what" }, operation.summary ?? ""),
      auth && el("span", { class: "badge" }, operation.security.length === 1 ? "token" : "token optional"),
    ),
    operation.description && el("p", {}, ...prose(operation.description)),
    fields.length > 0 ? el("h4", {}, "Parameters") : undefined,
    fields.length > 0 ? el("div", { class: "fields" }, ...fields) : undefined,
    body && el("h4", {}, "Body"),
    body && el("details", {}, el("summary", {}, "Its shape"), el("pre", {}, shape(body))),
    editor,
    el(
      "div",
      { class: "row" },
      el("button", { onclick: send }, "Send"),
      el("button", { class: "plain", onclick: copyCurl }, "curl"),
    ),
    outcome,
    el("h4", {}, "Answers"),
    ...answers,
  );
}

// For this tab alone, and gone with it.
function keepToken(value) {
  token.value = value;
  sessionStorage.setItem("token", value);
}
token.value = sessionStorage.getItem("token") ?? "";
token.addEventListener("input", () => keepToken(token.value.trim()));

const byTag = new Map((openapi.tags ?? []).map(({ name }) => [name, []]));
for (const [path, operations] of Object.entries(openapi.paths)) {
  for (const method of METHODS) {
    const operation = operations[method];
    if (operation === undefined) continue;
    const tag = operation.tags?.[0] ?? "Other";
    byTag.set(tag, [...(byTag.get(tag) ?? []), { path, method, operation }]);
  }
}

const { title, version, description } = openapi.info;
const contents = el("nav", { "aria-label": "Operations" }, el("h1", {}, title, " ", el("small", {}, version)));
const main = el(
  "main",
  {},
  el(
    "section",
    { class: "head" },
    el("p", {}, ...prose(description)),
    el("p", { class: "dim" }, "For programs: ", el("a", { href: "/openapi.json" }, "openapi.json")),
    el("div", { class: "token" }, el("label", { for: "token" }, el("b", {}, "Token")), token),
  ),
);
for (const [tag, entries] of byTag) {
  contents.append(el("h2", {}, tag));
  for (const { path, method, operation } of entries) {
    const name = el("span", { class: `method ${method}` }, method);
    contents.append(el("a", { class: "item", href: `#${operation.operationId}` }, name, operation.summary ?? path));
    main.append(describeOperation(path, method, operation));
  }
}
document.getElementById("docs").replaceChildren(contents, main);
// The place that the address names was not there yet when the browser looked for it.
if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
