// npm run build: dist/conduit, one file that needs only a PostgreSQL (DATABASE_URL). For the platform of the build, or
// another one: npm run build -- --target=bun-linux-arm64

import { mkdir, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";

const root = join(import.meta.dir, "..");
const { values } = parseArgs({
  options: { target: { type: "string" }, outfile: { type: "string", default: "dist/conduit" } },
});

await mkdir(join(root, "dist"), { recursive: true });
const outfile = resolve(root, values.outfile);
await rm(outfile, { force: true });
const built = await Bun.build({
  // Workers are programs of their own, found by their path from the root.
  entrypoints: [join(root, "src/main.ts"), join(root, "src/markup/worker.ts")],
  root,
  // The executable has no embedded PostgreSQL, which is an npm package.
  define: { STANDALONE: "true" },
  // The job queue would use this development dependency for configuration files in TypeScript.
  external: ["typescript"],
  minify: { syntax: true, whitespace: true },
  sourcemap: "inline",
  compile: {
    outfile,
    ...(values.target === undefined ? {} : { target: values.target as Bun.Build.CompileTarget }),
    // The executable must ignore a bunfig.toml in the folder that it is started in.
    autoloadBunfig: false,
    // src/config/env-file.ts reads .env.
    autoloadDotenv: false,
  },
});
// The executable contains the source maps.
for (const map of [`${outfile}.map`, join(dirname(outfile), "worker.js.map")]) await rm(map, { force: true });
if (!built.success) throw new AggregateError(built.logs, "the build failed");
console.log(`${values.outfile}  ${Math.round(Bun.file(outfile).size / 1024 / 1024)} MiB`);
