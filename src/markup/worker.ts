// Runs in a worker: says that it is ready, then takes one input at a time, and sends back its output, or null if there is none.
// A text is rendered; a pair of texts is compared.
import { compareTexts } from "./diff.ts";
import { renderMarkdown } from "./markdown.ts";

declare const self: Worker;

self.onmessage = ({ data }: MessageEvent<string | [before: string, after: string]>) => {
  self.postMessage(outputOf(data));
};

self.postMessage(null);

function outputOf(input: string | [before: string, after: string]): unknown {
  try {
    return typeof input === "string" ? renderMarkdown(input) : compareTexts(...input);
  } catch {
    // Nested too deeply, or larger than the memory.
    return null;
  }
}
