import { expect, test } from "bun:test";
import { relativeImports } from "../../scripts/checks/folders.ts";
import { publicTexts } from "../../scripts/checks/phrases.ts";

test("the check of public texts reads strings, templates and JSX, but no comments and names", () => {
  const source = `
// a comment with "nobody"
/** a docstring
 * of two lines */
const nobody = "one" + 'two';
const message = \`three \${nobody}\`;
const page = <p class="four">five</p>;
`;
  expect(publicTexts(source, true).map(({ text, line }) => `${line} ${text}`)).toEqual([
    '5 one"',
    "5 two'",
    "6 three \u0024{nobody}`",
    '7 four"',
    "7 five",
  ]);
});

test("the check of directions sees every form of import with a literal path", () => {
  const source = `
import "./effect.ts";
import one from "./one.ts";
import type { Two } from "../two.ts";
export * from "./three.ts";
const four = await import("./four.ts");
import five from "package";
`;
  expect(relativeImports(source)).toEqual(["./effect.ts", "./one.ts", "../two.ts", "./three.ts", "./four.ts"]);
});
