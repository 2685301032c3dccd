// npm run build: dist/conduit, one file that needs only a PostgreSQL (DATABASE_URL). For the platform of the build, or
// another one: npm run build -- --target=bun-linux-arm64

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";

const root = join(import.meta.dir, "..");
const { values } = parseArgs({
  options: { target: { type: "string" }, outfile: { type: "string", default: "dist/conduit" } },
});

const outfile = resolve(root, values.outfile);
await mkdir(dirname(outfile), { recursive: true });
await rm(outfile, { force: true });
const folder = await mkdtemp(join(tmpdir(), "conduit-build-"));
try {
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
      ...(values.target === undefined
        ? {}
        : { target: values.target as Bun.Build.CompileTarget, executablePath: await lockedBun(values.target, folder) }),
      // The executable must ignore a bunfig.toml in the folder that it is started in.
      autoloadBunfig: false,
      // src/config/env-file.ts reads .env.
      autoloadDotenv: false,
    },
  });
  if (!built.success) throw new AggregateError(built.logs, "the build failed");
} finally {
  await rm(folder, { recursive: true });
  // The executable contains the source maps.
  for (const map of [`${outfile}.map`, join(dirname(outfile), "worker.js.map")]) await rm(map, { force: true });
}
console.log(`${values.outfile}  ${Math.round(Bun.file(outfile).size / 1024 / 1024)} MiB`);

/**
 * The Bun for another platform, which becomes a part of the executable. Left alone, Bun downloads it and checks nothing; this
 * one has the hash in the lock file.
 * @param target such as `bun-linux-arm64`
 * @param folder where it is put
 */
async function lockedBun(target: string, folder: string): Promise<string> {
  const name = `@oven/${target.replace("arm64", "aarch64")}`;
  const lock = await Bun.file(join(root, "package-lock.json")).json();
  const locked: { version: string; integrity: string } | undefined = lock.packages[`node_modules/${name}`];
  if (locked === undefined) throw new Error(`package-lock.json has no ${name}`);
  const npm = Bun.spawn(["npm", "pack", "--silent", "--pack-destination", folder, `${name}@${locked.version}`], {
    cwd: root,
    stdout: "pipe",
    stderr: "inherit",
  });
  const file = (await npm.stdout.text()).trim();
  if ((await npm.exited) !== 0) throw new Error(`npm could not download ${name}@${locked.version}`);
  const archive = await Bun.file(join(folder, file)).bytes();
  const integrity = `sha512-${new Bun.CryptoHasher("sha512").update(archive).digest("base64")}`;
  if (integrity !== locked.integrity) throw new Error(`${name}@${locked.version} is not what package-lock.json lists`);
  await new Bun.Archive(archive).extract(folder);
  return join(folder, "package/bin/bun");
}
