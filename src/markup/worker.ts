// Runs in a worker: says that it is ready, renders one text at a time, and sends back its HTML, or null if there is none.
import { renderMarkdown } from "./markdown.ts";

declare const self: Worker;

self.onmessage = ({ data }: MessageEvent<string>) => {
  self.postMessage(htmlOf(data));
};

self.postMessage(null);

function htmlOf(text: string): string | null {
  try {
    return renderMarkdown(text);
  } catch {
    // Nested too deeply, or larger than the memory.
    return null;
  }
}
