// npm run build: dist/conduit, one file that needs nothing but a PostgreSQL (DATABASE_URL). For the platform it is built
// on, or another: npm run build -- --target=bun-linux-arm64

import { mkdir, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const root = join(import.meta.dir, "..");
const { values } = parseArgs({
  options: { target: { type: "string" }, outfile: { type: "string", default: "dist/conduit" } },
});

await mkdir(join(root, "dist"), { recursive: true });
const outfile = resolve(root, values.outfile);
await rm(outfile, { force: true });
const built = await Bun.build({
  entrypoints: [join(root, "src/main.ts")],
  // Told to the program by src/server.ts: it is without the embedded PostgreSQL, which is a package of npm's.
  define: { STANDALONE: "true" },
  // Only for configuration files in TypeScript, which the job queue would look for. It is a development dependency.
  external: ["typescript"],
  minify: { syntax: true, whitespace: true },
  sourcemap: "inline",
  compile: {
    outfile,
    ...(values.target === undefined ? {} : { target: values.target as Bun.Build.CompileTarget }),
    // A bunfig.toml of the folder that it happens to be started in is not for it.
    autoloadBunfig: false,
    // src/config/env-file.ts reads .env.
    autoloadDotenv: false,
  },
});
// A copy of what is inside.
await rm(`${outfile}.map`, { force: true });
if (!built.success) throw new AggregateError(built.logs, "the build failed");
console.log(`${values.outfile}  ${Math.round(Bun.file(outfile).size / 1024 / 1024)} MiB`);
