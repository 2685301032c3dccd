import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { loadConfig, SETTINGS } from "../../src/config/settings.ts";

const root = join(import.meta.dir, "../..");
const text = (path: string): string => readFileSync(join(root, path), "utf8");

describe("the workflows", () => {
  const workflows = [...new Bun.Glob(".github/workflows/*.yml").scanSync({ cwd: root, dot: true })];

  test("install with npm ci, except for the command of the README", () => {
    for (const path of workflows) expect([path, text(path).match(/npm install/g)]).toEqual([path, null]);
  });

  test.each(workflows)("%s pins each action by its full hash, and grants no permission at the top level", (path) => {
    const uses = [...text(path).matchAll(/uses: *(.+)/g)].map(([, action]) => action as string);
    expect(uses).not.toBeEmpty();
    for (const action of uses) expect(action).toMatch(/^[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
    expect(text(path)).toMatch(/^permissions: \{\}$/m);
  });

  test("of a release run code of the project only in jobs that cannot write or sign", () => {
    const { jobs } = Bun.YAML.parse(text(".github/workflows/release.yml")) as {
      jobs: Record<string, { permissions: object; steps: { uses?: string; run?: string }[] }>;
    };
    const mayWrite = Object.entries(jobs).filter(
      ([, { permissions }]) => JSON.stringify(permissions) !== '{"contents":"read"}',
    );
    expect(mayWrite.map(([name]) => name)).toEqual(["publish-image", "publish-release"]);
    for (const [name, { steps }] of mayWrite) {
      for (const { uses = "", run = "" } of steps) {
        expect([name, uses]).toEqual([name, expect.stringMatching(/^$|^actions\/(download-artifact|attest)@/)]);
        expect([name, run]).not.toEqual([name, expect.stringMatching(/\b(npm|npx|node|bun|bash)\b/)]);
      }
    }
  });
});

describe("images", () => {
  const files = ["Dockerfile", "compose.yaml", ".github/workflows/ci.yml", ".github/workflows/release.yml"];

  test.each(files)("in %s have an exact digest", (path) => {
    const images = [
      ...text(path).matchAll(/^(?:# syntax=|FROM (?:--\S+ )?|\s+(?:image|BUILDKIT|SBOM_SCANNER): )(\S+)/gm),
    ].flatMap(([, image = ""]) => (image === "conduit" || image.startsWith("$") ? [] : image));
    expect(images).not.toBeEmpty();
    for (const image of images) {
      expect([path, image]).toEqual([path, expect.stringMatching(/^[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}$/)]);
    }
  });
});

describe("compose.yaml", () => {
  const compose = Bun.YAML.parse(text("compose.yaml")) as {
    services: Record<string, { environment?: Record<string, string>; volumes?: string[]; stop_grace_period?: string }>;
  };
  const app = compose.services.app;

  test("sets only settings that exist", () => {
    // OpenTelemetry reads its own.
    const ours = Object.keys(app?.environment ?? {}).filter((name) => !name.startsWith("OTEL_"));
    expect(Object.values(SETTINGS).map(({ name }) => name as string)).toEqual(expect.arrayContaining(ours));
    const env = Object.entries(app?.environment ?? {}).map(([name, value]) => [
      name,
      value.replace(/\$\{[^}]+\}/g, "a value for every setting, of 32 bytes"),
    ]);
    expect(() => loadConfig({ NODE_ENV: "production", ...Object.fromEntries(env) })).not.toThrow();
  });

  test("gives the server more time to stop than the server takes", () => {
    const { shutdownDelayMs, shutdownTimeoutMs } = loadConfig({});
    expect(Number.parseInt(app?.stop_grace_period ?? "0", 10) * 1000).toBeGreaterThan(
      shutdownDelayMs + shutdownTimeoutMs,
    );
  });

  test("mounts only what exists", () => {
    const paths = Object.values(compose.services).flatMap(({ volumes = [] }) =>
      volumes.flatMap((volume) => /^(\.[^:]+):/.exec(volume)?.[1] ?? []),
    );
    for (const path of paths.filter((path) => !path.endsWith("dashboards"))) {
      expect([path, existsSync(join(root, path))]).toEqual([path, true]);
    }
  });
});

describe("the image", () => {
  const copied = [...text("Dockerfile").matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, paths]) =>
    (paths ?? "").split(" "),
  );

  test("gets what the build copies, and nothing else", () => {
    const allowed = [...text(".dockerignore").matchAll(/^!(.+)$/gm)].map(([, path]) => path as string);
    const needed = copied.filter((path) => !copied.some((folder) => path.startsWith(`${folder}/`)));
    expect(needed.sort()).toEqual(allowed.sort());
    for (const path of allowed) expect([path, existsSync(join(root, path))]).toEqual([path, true]);
  });

  test("gets the package.json of every workspace before npm ci", () => {
    const beforeInstall = text("Dockerfile").split(/^RUN .*npm ci/m)[0] ?? "";
    for (const path of new Bun.Glob("packages/*/package.json").scanSync(root)) expect(beforeInstall).toContain(path);
  });
});

test("the lock file has the packages of every platform, which npm ci needs on another one", () => {
  const lock = JSON.parse(text("package-lock.json")) as {
    packages: Record<string, { version?: string; optionalDependencies?: Record<string, string> }>;
  };
  for (const [path, { optionalDependencies = {} }] of Object.entries(lock.packages)) {
    for (const name of Object.keys(optionalDependencies)) {
      const places = [`${path}/node_modules/${name}`, `node_modules/${name}`];
      expect([path, name, places.some((place) => lock.packages[place]?.version !== undefined)]).toEqual([
        path,
        name,
        true,
      ]);
    }
  }
});
