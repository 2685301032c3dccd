import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { loadConfig, SETTINGS } from "../../src/config/settings.ts";

const root = join(import.meta.dir, "../..");
const text = (path: string): string => readFileSync(join(root, path), "utf8");

describe("the workflows", () => {
  const workflows = [...new Bun.Glob(".github/workflows/*.yml").scanSync({ cwd: root, dot: true })];

  test.each(workflows)("%s pins each action by its whole hash, and asks for no permission at the top", (path) => {
    const uses = [...text(path).matchAll(/uses: *(.+)/g)].map(([, action]) => action as string);
    expect(uses).not.toBeEmpty();
    for (const action of uses) expect(action).toMatch(/^[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
    expect(text(path)).toMatch(/^permissions: \{\}$/m);
  });
});

describe("compose.yaml", () => {
  const compose = Bun.YAML.parse(text("compose.yaml")) as {
    services: Record<string, { environment?: Record<string, string>; volumes?: string[]; stop_grace_period?: string }>;
  };
  const app = compose.services.app;

  test("gives the server settings that it has", () => {
    // Read by OpenTelemetry itself.
    const ours = Object.keys(app?.environment ?? {}).filter((name) => !name.startsWith("OTEL_"));
    expect(Object.values(SETTINGS).map(({ name }) => name as string)).toEqual(expect.arrayContaining(ours));
    const env = Object.entries(app?.environment ?? {}).map(([name, value]) => [
      name,
      value.replace(/\$\{[^}]+\}/g, "0123456789abcdef0123456789abcdef"),
    ]);
    expect(() => loadConfig({ NODE_ENV: "production", ...Object.fromEntries(env) })).not.toThrow();
  });

  test("waits longer for the server's end than the server itself", () => {
    const { shutdownDelayMs, shutdownTimeoutMs } = loadConfig({});
    expect(Number.parseInt(app?.stop_grace_period ?? "0", 10) * 1000).toBeGreaterThan(
      shutdownDelayMs + shutdownTimeoutMs,
    );
  });

  test("mounts only what is there", () => {
    const paths = Object.values(compose.services).flatMap(({ volumes = [] }) =>
      volumes.flatMap((volume) => /^(\.[^:]+):/.exec(volume)?.[1] ?? []),
    );
    for (const path of paths.filter((path) => !path.endsWith("dashboards"))) {
      expect([path, existsSync(join(root, path))]).toEqual([path, true]);
    }
  });
});

test("the image is given what the build needs, and nothing more", () => {
  const allowed = [...text(".dockerignore").matchAll(/^!(.+)$/gm)].map(([, path]) => path as string);
  const copied = [...text("Dockerfile").matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, paths]) =>
    (paths ?? "").split(" "),
  );
  expect(copied.sort()).toEqual(allowed.sort());
  for (const path of allowed) expect([path, existsSync(join(root, path))]).toEqual([path, true]);
});
