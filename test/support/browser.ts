import { expect } from "bun:test";
import type { TestResponse, TestServer, TestUser } from "./harness.ts";

/** A browser without a window: it keeps cookies, says where its requests come from, and does not follow redirects. */
export type TestBrowser = {
  get(path: string, headers?: Record<string, string>): Promise<PageResponse>;
  /** Sends a form of a page of this server, unless the headers say something else. */
  submit(path: string, fields?: Fields, headers?: Record<string, string>): Promise<PageResponse>;
  /** Signs in through the page. */
  signIn(user: Pick<TestUser, "email" | "password">): Promise<void>;
  /** The value of the `Cookie` header; empty without cookies. */
  cookie(): string;
  setCookie(name: string, value: string): void;
};

/** A field may be there several times. */
export type Fields = Record<string, string> | [name: string, value: string][];

export type PageResponse = Pick<TestResponse, "status" | "headers" | "text"> & {
  /** The target of a redirect, without the origin of the server. */
  readonly location: string | null;
};

/** What Chromium sends in its address bar. */
export const BROWSER_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

export function testBrowser(server: Pick<TestServer, "url">): TestBrowser {
  const cookies = new Map<string, string>();
  let page = server.url;

  async function send(method: string, path: string, headers: Record<string, string>, body?: string) {
    const cookie = cookieHeader();
    // Not by server.request: pages are not in the OpenAPI document.
    const response = await fetch(server.url + path, {
      method,
      headers: { Accept: BROWSER_ACCEPT, ...(cookie === "" ? {} : { Cookie: cookie }), ...headers },
      redirect: "manual",
      ...(body === undefined ? {} : { body }),
    });
    for (const line of response.headers.getSetCookie()) keep(line);
    if (method === "GET" && response.status < 300) page = server.url + path;
    const location = response.headers.get("Location");
    const { status } = response;
    return { status, headers: response.headers, text: await response.text(), location };
  }

  function keep(line: string): void {
    const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
    if (/; Max-Age=0(;|$)/.test(line)) cookies.delete(name);
    else cookies.set(name, value);
  }

  const cookieHeader = () => [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");

  const submit: TestBrowser["submit"] = (path, fields = {}, headers = {}) =>
    send(
      "POST",
      path,
      {
        "Content-Type": "application/x-www-form-urlencoded",
        Origin: server.url,
        "Sec-Fetch-Site": "same-origin",
        Referer: page,
        ...headers,
      },
      new URLSearchParams(fields).toString(),
    );

  return {
    get: (path, headers = {}) => send("GET", path, headers),
    submit,
    async signIn({ email, password }) {
      const { status, location } = await submit("/login", { email, password });
      expect([status, location]).toEqual([303, "/"]);
    },
    cookie: cookieHeader,
    setCookie: (name, value) => void cookies.set(name, value),
  };
}

/** The text of the first element of a page with this tag, without tags in it. */
export function textOf(page: string, tag: string): string | undefined {
  return new RegExp(`<${tag}(?: [^>]*)?>(.*?)</${tag}>`, "s")
    .exec(page)?.[1]
    ?.replace(/<[^>]+>/g, "")
    .trim();
}
