import { createRenderer } from "./renderer.ts";

/** One for the process, as its cores are shared too. */
const renderer = createRenderer();

/** The body of an article as HTML that is safe to show. */
export const renderBody = (markdown: string): string | Promise<string> => renderer.render(markdown);
