import { beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type TestServer, type TestUser, testServer } from "../../support/harness.ts";

let server: TestServer;
let author: TestUser;
beforeAll(async () => {
  server = await testServer();
  author = await server.register("author");
});

const read = async (slug: string, query = "") =>
  (await server.request("GET", `/api/articles/${slug}${query}`)).json.article;

describe("GET /api/articles/:slug?format=html", () => {
  test("adds the body as safe HTML", async () => {
    const { slug } = await server.publish(author, {
      body: "A *body* <script>alert(1)</script> [x](javascript:alert(1))",
    });
    const plain = await read(slug);
    expect(plain).not.toHaveProperty("bodyHtml");
    expect(await read(slug, "?format=markdown")).toEqual(plain);
    const bodyHtml = "<p>A <em>body</em>  [x](javascript:alert(1))</p>\n";
    expect(await read(slug, "?format=html")).toEqual({ ...plain, bodyHtml });
    // The page shows the same.
    const page = await fetch(`${server.url}/article/${slug}`, { headers: { Accept: "text/html" } });
    expect(await page.text()).toContain(bodyHtml);
  });

  test("shows each reader their own flags, and every edit at once", async () => {
    const { slug } = await server.publish(author, { body: "One" });
    await server.request("POST", `/api/articles/${slug}/favorite`, { token: author.token });
    const path = `/api/articles/${slug}?format=html`;
    for (let round = 0; round < 2; round++) {
      const own = await server.request("GET", path, { token: author.token });
      expect(own.json.article).toMatchObject({ favorited: true, bodyHtml: "<p>One</p>\n" });
      expect((await read(slug, "?format=html")).favorited).toBe(false);
    }
    await server.request("PUT", `/api/articles/${slug}`, { token: author.token, body: { article: { body: "Two" } } });
    expect((await read(slug, "?format=html")).bodyHtml).toBe("<p>Two</p>\n");
  });

  test("rejects another format, and responds with 404 to a missing article", async () => {
    const { slug } = await server.publish(author);
    const { status, json } = await server.request("GET", `/api/articles/${slug}?format=pdf`);
    expect([status, json.errors]).toEqual([422, { format: ["must be markdown or html"] }]);
    expect((await server.request("GET", "/api/articles/none?format=html")).status).toBe(404);
  });

  test.each(["bash", "dash"].filter((shell) => Bun.which(shell) !== null))(
    "is what the session in the guide shows, in %s",
    async (name) => {
      const guide = await Bun.file(join(import.meta.dir, "../../../docs/guide/publishing.md")).text();
      const section = guide.slice(guide.indexOf("\n## Safe HTML"));
      const script = /```sh\n(.*?)```/s.exec(section)?.[1] ?? "";
      const shown = /```text\n(.*?)```/s.exec(section)?.[1] ?? "";
      const shell = Bun.spawn([name, "-c", `set -eu\n${script.replaceAll("http://localhost:3000", server.url)}`], {
        stdout: "pipe",
        stderr: "pipe",
      });
      const [out, err] = await Promise.all([shell.stdout.text(), shell.stderr.text()]);
      expect({ exit: await shell.exited, err, out }).toEqual({ exit: 0, err: "", out: shown });
    },
  );

  // Of a megabyte, which is shown as it is, and of what takes a second to render.
  test.each(["[", "*", "> ", '"', "|a|b|\n|-|-|\n"])("renders %p, repeated, while others are served", async (piece) => {
    const slugs: string[] = [];
    for (const size of [1024 * 1024, 250 * 1024]) {
      const body = piece.repeat(size).slice(0, size);
      slugs.push((await server.publish(author, { body })).slug);
    }
    const { slug } = await server.publish(author, { body: "Quick" });
    let rendered = 0;
    const slow = slugs.map(async (hostile) => {
      const { bodyHtml } = await read(hostile, "?format=html");
      rendered++;
      expect(bodyHtml).not.toContain("<script");
    });
    let served = 0;
    while (rendered < slow.length) {
      expect((await server.request("GET", `/api/articles/${slug}`)).status).toBe(200);
      served++;
    }
    await Promise.all(slow);
    expect(served).toBeGreaterThan(0);
  });
});
