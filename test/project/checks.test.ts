import { expect, test } from "bun:test";
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
