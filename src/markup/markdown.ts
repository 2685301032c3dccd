import MarkdownIt from "markdown-it";
import sanitizeHtml from "sanitize-html";

/** How deep quotes, lists and emphasis may be nested. */
const NESTING_MAX = 40;

/** How much the links of a text may grow it: a reference of 3 bytes can stand for an address of a megabyte. */
const REFERENCES_MAX_BYTES = 256 * 1024;

/** CommonMark with tables, strikethrough and bare addresses, as in GFM. */
const markdown = new MarkdownIt({ html: true, linkify: true, maxNesting: NESTING_MAX });
// Without these, "README.md" becomes a link to Moldova.
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
markdown.core.ruler.before("inline", "limits", (state) => {
  requireFlat(state);
  boundReferences(state);
});
markdown.core.ruler.push("adjustments", (state) => {
  alignCells(state);
  markTasksAndPictures(state);
});

/**
 * HTML for a text in Markdown, safe to show next to anything: the sanitiser has the last word, and knows only what is on its
 * list. Takes time in proportion to the length, about a second for a megabyte, so `renderer.ts` calls it in a worker.
 * @throws Error if quotes and lists are nested too deeply
 */
export function renderMarkdown(text: string): string {
  return sanitizeHtml(markdown.render(text), ALLOWED);
}

const ALLOWED: sanitizeHtml.IOptions = {
  allowedTags: [
    ...["p", "br", "hr", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li", "dl", "dt", "dd", "pre"],
    ...["table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "details", "summary"],
    ...["a", "img", "em", "strong", "b", "i", "s", "del", "ins", "mark", "sub", "sup", "small", "code", "kbd", "abbr"],
  ],
  allowedAttributes: {
    a: ["href", "title", "rel"],
    img: ["src", "alt", "title", "width", "height", "loading", "decoding"],
    pre: ["tabindex"],
    table: ["tabindex"],
    abbr: ["title"],
    ol: ["start"],
    th: ["align"],
    td: ["align"],
  },
  allowedClasses: { code: ["language-*"], p: ["picture"] },
  allowedSchemes: ["http", "https", "mailto"],
  allowedSchemesByTag: { img: ["http", "https", "data"] },
  allowProtocolRelative: false,
  // Not the text of these, either.
  nonTextTags: ["script", "style", "textarea", "option", "noscript", "template", "title", "iframe", "svg", "math"],
  nestingLimit: 2 * NESTING_MAX,
  transformTags: {
    // The title of the article is the only h1.
    ...Object.fromEntries([1, 2, 3, 4, 5].map((level) => [`h${level}`, `h${level + 1}`])),
    // They scroll on their own, also by keyboard.
    pre: sanitizeHtml.simpleTransform("pre", { tabindex: "0" }),
    table: sanitizeHtml.simpleTransform("table", { tabindex: "0" }),
    a: sanitizeHtml.simpleTransform("a", { rel: "nofollow ugc" }),
    img: sanitizeHtml.simpleTransform("img", { loading: "lazy", decoding: "async" }),
  },
};

type Core = Parameters<Parameters<typeof markdown.core.ruler.push>[1]>[0];

/** The parser drops what is nested too deeply, which would show half of a text. */
function requireFlat({ tokens }: Core): void {
  if (tokens.some(({ level }) => level >= NESTING_MAX - 1)) throw new Error("quotes and lists are nested too deeply");
}

/** Forgets the definitions of references whose uses could grow the text by more than the maximum. */
function boundReferences({ env, src }: Core): void {
  const references = (env as { references?: Record<string, { href: string; title: string }> }).references ?? {};
  const uses = src.split("[").length;
  for (const [label, { href, title }] of Object.entries(references)) {
    if ((href.length + title.length) * uses > REFERENCES_MAX_BYTES + src.length) delete references[label];
  }
}

/** Aligns the cells of tables by an attribute: the content security policy forbids inline styles. */
function alignCells({ tokens }: Core): void {
  for (const token of tokens) {
    const [, side] = /^text-align:(\w+)$/.exec(String(token.attrGet("style"))) ?? [];
    if (side !== undefined) token.attrSet("align", side);
  }
}

/** Shows the boxes of task lists (GFM 5.3) as characters, and marks paragraphs that have one picture and nothing else. */
function markTasksAndPictures({ tokens }: Core): void {
  for (const [i, { type, children }] of tokens.entries()) {
    const [first] = children ?? [];
    if (type !== "inline" || first === undefined || tokens[i - 1]?.type !== "paragraph_open") continue;
    if (children?.length === 1 && first.type === "image") tokens[i - 1]?.attrSet("class", "picture");
    if (first.type === "text" && tokens[i - 2]?.type === "list_item_open") {
      first.content = first.content.replace(/^\[[ xX]\] /, (box) => (box === "[ ] " ? "☐ " : "☑ "));
    }
  }
}
