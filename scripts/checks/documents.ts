import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { filesOf, root, textOf } from "./files.ts";

/** Links in the documentation, and mentions of documents in the code, that lead nowhere. */
export async function checkLinks(): Promise<string[]> {
  const problems: string[] = [];
  for (const file of filesOf("*.md", "{docs,packages,migrations,.github}/**/*.md")) {
    const text = (await textOf(file)).replace(/```[\s\S]*?```/g, "");
    for (const [, link = ""] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^(https?:|mailto:|#)/.test(link)) continue;
      const [path = "", anchor] = link.split("#");
      const target = join(root, dirname(file), path);
      if (!existsSync(target)) problems.push(`${file} links to ${link}, which does not exist`);
      else if (anchor !== undefined && !anchorsOf(await Bun.file(target).text()).includes(anchor)) {
        problems.push(`${file} links to ${link}: the page has no such heading`);
      }
    }
  }
  for (const file of filesOf("{src,migrations,packages,test,bench,scripts,ops}/**/*.{ts,tsx,sql,yml}")) {
    for (const [mention] of (await textOf(file)).matchAll(/\bdocs\/[\w/-]+\.md\b/g)) {
      if (!existsSync(join(root, mention))) problems.push(`${file} mentions ${mention}, which does not exist`);
    }
  }
  return problems;
}

/** A path with a folder and a known extension, unless it is part of a URL, an absolute path or a package name. */
const PATH = /(?<![\w./@:$*{}<>-])(?:[\w.-]+\/)+[\w.-]+\.(?:ts|tsx|mjs|js|css|sql|sh|lua|rs|md|yml)\b(?![\w/*])/g;

/** Files that documentation and comments mention, as a path or the end of one, and that do not exist. */
export async function checkMentionedFiles(): Promise<string[]> {
  const problems: string[] = [];
  const existing = filesOf("**/*").map((file) => `/${file}`);
  const verify = (file: string, text: string) => {
    for (const [mention] of text.matchAll(PATH)) {
      // A path from the folder of the file, or any part of one from its end.
      const end = `/${mention.replace(/^(\.\.?\/)+/, "")}`;
      // Built, or written by a command.
      if (/\/(dist|target|\.data)\//.test(end)) continue;
      if (!existing.some((known) => known.endsWith(end)))
        problems.push(`${file} mentions ${mention}, which does not exist`);
    }
  };
  for (const file of filesOf("*.md", "{docs,packages,migrations,.github}/**/*.md")) {
    // Decisions are history.
    if (file.startsWith("docs/decisions/0")) continue;
    verify(file, (await textOf(file)).replace(/```[\s\S]*?```/g, ""));
  }
  for (const file of filesOf("{src,packages,test,bench,scripts}/**/*.{ts,tsx,mjs}")) {
    for (const [comment] of (await textOf(file)).matchAll(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/[^\n]*/gm))
      verify(file, comment);
  }
  return problems;
}

/** Entries of the column "tested in" of the threats that are not the name of a test file. */
export async function checkThreats(): Promise<string[]> {
  const file = "docs/guide/accounts.md";
  const tests = new Set(filesOf("test/**/*.test.ts").map((path) => basename(path, ".test.ts")));
  const [, table = ""] = /\| tested in \|\n((?:\|.*\n)+)/.exec(await textOf(file)) ?? [];
  if (table === "") return [`${file} has no table with a column "tested in"`];
  const rows = table.trim().split("\n").slice(1);
  return rows.flatMap((row) => {
    const names = row.split("|").at(-2)?.trim().split(", ") ?? [];
    const unknown = names.filter((name) => name !== "by construction" && !tests.has(name));
    return unknown.map((name) => `${file} says that a threat is tested in "${name}", which is not a test file`);
  });
}

/** The anchors that GitHub gives to the headings of a page. */
function anchorsOf(page: string): string[] {
  return [...page.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

/** Decisions that do not follow the format of docs/decisions/README.md, and gaps in their numbers. */
export async function checkDecisions(): Promise<string[]> {
  const index = await textOf("docs/decisions/README.md");
  const files = filesOf("docs/decisions/*.md")
    .map((path) => basename(path))
    .filter((file) => file !== "README.md");
  const problems: string[] = [];
  for (const [i, file] of files.entries()) {
    const number = i + 1;
    if (!file.startsWith(`${String(number).padStart(4, "0")}-`)) {
      problems.push(`docs/decisions/${file} should be number ${number}`);
      continue;
    }
    const text = await textOf(`docs/decisions/${file}`);
    const parts = [
      `# ${number}. `,
      "\n- Status: ",
      "\n- Date: 20",
      "\n## Context\n",
      "\n## Decision\n",
      "\n## Consequences\n",
    ];
    for (const part of parts) {
      if (!text.includes(part)) problems.push(`docs/decisions/${file} has no "${part.trim()}"`);
    }
    if (!index.includes(`[${number}](${file})`)) problems.push(`docs/decisions/README.md does not list ${file}`);
  }
  return problems;
}
