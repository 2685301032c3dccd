import type { Handler, MiddlewareHandler } from "hono";
import type { ParamIndexMap, Params, Result, Router } from "hono/router";
import { RegExpRouter } from "hono/router/reg-exp-router";
import { TrieRouter } from "hono/router/trie-router";
import type { RouterRoute } from "hono/types";

type Step = Handler | MiddlewareHandler;
type Entry = [step: Step, route: RouterRoute];

/**
 * Finds for each request one handler, made of the middleware, guards and handler of its route. Hono would wrap each of them
 * in an asynchronous function, which takes more time than most of them need.
 */
export class OneHandlerRouter implements Router<Entry> {
  readonly name = "OneHandlerRouter";
  readonly #steps = new MapAndPatternRouter<Entry>();
  /** By the list of steps, which is the same object for every match of a route. */
  readonly #composed = new Map<object, [Entry, ParamIndexMap & Params][]>();

  add(method: string, path: string, entry: Entry): void {
    this.#steps.add(method, path, entry);
  }

  match(method: string, path: string): Result<Entry> {
    const found = this.#steps.match(method, path);
    const [steps, values] = found;
    // Also the list of none, which is a new object each time.
    if (steps.length < 2) return found;
    let composed = this.#composed.get(steps);
    if (composed === undefined) {
      composed = [
        [composeEntries(steps.map(([entry]) => entry)), Object.assign({}, ...steps.map(([, params]) => params))],
      ];
      this.#composed.set(steps, composed);
    }
    return values === undefined ? [composed] : [composed, values];
  }
}

/** Under the route that ends the request, and not that of a middleware. */
function composeEntries(entries: readonly Entry[]): Entry {
  const [, route] = entries.find(([, { method }]) => method !== "ALL") ?? (entries.at(-1) as Entry);
  return [compose(entries.map(([step]) => step)), route];
}

/**
 * Each step gets the next ones as `next`, as in Hono, and finds their response in `c.res` afterwards. What is synchronous
 * stays so. An error goes to `onError` at once: no step sees it.
 */
function compose(steps: readonly Step[]): Handler {
  return (c, next) => {
    let stored: Promise<unknown> | undefined;
    const store = (response: unknown): unknown => {
      if (response instanceof Response && !c.finalized) c.res = response;
      return response;
    };
    const run = (i: number): unknown => {
      const result: unknown = i < steps.length ? steps[i]?.(c, () => run(i + 1) as Promise<void>) : next();
      if (!(result instanceof Promise)) return store(result);
      // Most steps return what `next` returned.
      if (result !== stored) stored = result.then(store);
      return stored;
    };
    return run(0);
  };
}

/**
 * Finds a path without parameters in a map, and any other by one regular expression. Hono's own choice for these routes
 * takes 1 to 2 µs more: its regular expression cannot have both /articles/feed and /articles/:slug, so it walks a tree.
 */
export class MapAndPatternRouter<Found> implements Router<Found> {
  readonly name = "MapAndPatternRouter";
  readonly #tree = new TrieRouter<Found>();
  readonly #patterns = new RegExpRouter<Found>();
  /** By method and path; undefined until the path is matched for the first time. */
  readonly #fixed = new Map<string, Map<string, Result<Found> | undefined>>();

  add(method: string, path: string, found: Found): void {
    this.#tree.add(method, path, found);
    if (/[:*]/.test(path)) {
      this.#patterns.add(method, path, found);
    } else {
      const paths = this.#fixed.get(method) ?? new Map();
      this.#fixed.set(method, paths.set(path, undefined));
    }
  }

  match(method: string, path: string): Result<Found> {
    const paths = this.#fixed.get(method);
    const known = paths?.get(path);
    if (known !== undefined) return known;
    if (paths?.has(path) !== true) return this.#patterns.match(method, path);
    const found = this.#tree.match(method, path);
    paths.set(path, found);
    return found;
  }
}
