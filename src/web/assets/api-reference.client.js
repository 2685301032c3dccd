// Runs in the browser: shows the OpenAPI document with Swagger UI. Nothing is loaded from or sent to another server.

const dark = matchMedia("(prefers-color-scheme: dark)");
const applyColorScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", applyColorScheme);
applyColorScheme();

/** Samples of the request that "Execute" sends. Swagger UI brings those for curl. */
const samples = {
  fn: {
    requestSnippetGenerator_javascript(request) {
      const { url, method, headers, text, json } = partsOf(request);
      const options = [`  method: ${JSON.stringify(method)},`, `  headers: ${indented(headers)},`];
      if (json !== undefined) options.push(`  body: JSON.stringify(${indented(json)}),`);
      else if (text !== undefined) options.push(`  body: ${JSON.stringify(text)},`);
      return `const response = await fetch(${JSON.stringify(url)}, {\n${options.join("\n")}\n});\nconsole.log(await response.json());`;
    },
    requestSnippetGenerator_python(request) {
      const { url, method, headers, text, json } = partsOf(request);
      const parameters = [`    ${JSON.stringify(method)},`, `    ${JSON.stringify(url)},`];
      parameters.push(`    headers=${python(headers)},`);
      if (json !== undefined) parameters.push(`    json=${python(json)},`);
      else if (text !== undefined) parameters.push(`    data=${python(text)},`);
      return `import requests\n\nresponse = requests.request(\n${parameters.join("\n")}\n)\nprint(response.json())`;
    },
  },
};

function partsOf(request) {
  const body = request.get("body");
  const text = typeof body === "string" ? body : undefined;
  return {
    url: request.get("url"),
    method: request.get("method"),
    headers: request.get("headers")?.toJS() ?? {},
    text,
    json: text === undefined ? undefined : parsed(text),
  };
}

/** The value of a JSON text; undefined for any other text, which a person may have typed. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const indented = (value) => JSON.stringify(value, null, 2).replaceAll("\n", "\n  ");

/** A JSON value as Python writes it. */
function python(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([name, member]) => `${JSON.stringify(name)}: ${python(member)}`)
    .join(", ")}}`;
}

const ui = SwaggerUIBundle({
  url: document.getElementById("api-reference").dataset.document,
  dom_id: "#api-reference",
  deepLinking: true,
  filter: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  defaultModelsExpandDepth: 0,
  // By default, Swagger UI shows a badge of an online validator.
  validatorUrl: null,
  plugins: [samples],
  requestSnippetsEnabled: true,
  requestSnippets: {
    generators: {
      curl_bash: { title: "curl", syntax: "bash" },
      javascript: { title: "JavaScript", syntax: "javascript" },
      python: { title: "Python", syntax: "python" },
    },
  },
  // Registering or signing in here also signs in for the requests that follow, until the page is closed.
  responseInterceptor(response) {
    const token = response.body?.user?.token;
    const schemes = ui.specSelectors.specJson().getIn(["components", "securitySchemes"]);
    if (typeof token === "string") for (const name of schemes.keys()) ui.preauthorizeApiKey(name, token);
    return response;
  },
});
