// npm run sbom: prints the bill of materials (SBOM) of a release, in the format CycloneDX: the packages in package-lock.json,
// without those for development only. The tool for that leaves out the hashes of packages whose address the lock file does
// not have, so they are added here.

import { join } from "node:path";

const root = join(import.meta.dir, "..");

type Component = {
  hashes?: { alg: string; content: string }[];
  properties?: { name: string; value: string }[];
  components?: Component[];
};

const tool = Bun.spawn(
  [
    join(root, "node_modules/.bin/cyclonedx-npm"),
    ...["--package-lock-only", "--omit=dev", "--mc-type=application", "--spec-version=1.6", "--validate"],
  ],
  { cwd: root, stdout: "pipe", stderr: "inherit" },
);
const text = await tool.stdout.text();
if ((await tool.exited) !== 0) throw new Error("cyclonedx-npm failed");
const bom: { components: Component[] } = JSON.parse(text);
const lock: { packages: Record<string, { integrity?: string }> } = await Bun.file(
  join(root, "package-lock.json"),
).json();
addHashes(bom.components);
console.log(JSON.stringify(bom, null, 2));

function addHashes(components: Component[]): void {
  for (const component of components) {
    const path = component.properties?.find(({ name }) => name === "cdx:npm:package:path")?.value ?? "";
    const integrity = lock.packages[path]?.integrity;
    // The packages of this repository have none.
    if (integrity?.startsWith("sha512-")) {
      const hash = Buffer.from(integrity.slice("sha512-".length), "base64").toString("hex");
      component.hashes = [{ alg: "SHA-512", content: hash }];
    }
    addHashes(component.components ?? []);
  }
}
