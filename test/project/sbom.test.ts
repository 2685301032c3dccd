import { expect, test } from "bun:test";
import { join } from "node:path";
import { Spec, Validation } from "@cyclonedx/cyclonedx-library";
import packageLock from "../../package-lock.json" with { type: "json" };

type Component = { name: string; group?: string; version: string; components?: Component[]; hashes?: object[] };

test("the SBOM is valid, and lists every package that is not for development only, with its hash", async () => {
  const child = Bun.spawn(["npm", "run", "--silent", "sbom"], {
    cwd: join(import.meta.dir, "../.."),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [text, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect([await child.exited, errors]).toEqual([0, ""]);

  const validator = new Validation.JsonStrictValidator(Spec.Version.v1dot6);
  expect(await validator.validate(text)).toBeNull();
  // Or else it cannot be attested.
  const bom = JSON.parse(text) as { serialNumber: string; components: Component[] };
  expect(bom.serialNumber).toStartWith("urn:uuid:");

  type Locked = { version?: string; name?: string; dev?: boolean; link?: boolean; integrity?: string };
  const packages = Object.entries(packageLock.packages as Record<string, Locked>)
    .filter(([path, { dev, link }]) => path !== "" && !dev && !link)
    .map(([path, { name, version, integrity }]) =>
      [name ?? path.split("node_modules/").at(-1), version, integrity === undefined ? "" : "hash"].join(" "),
    );
  const listed = flat(bom.components).map(({ group, name, version, hashes }) =>
    [group === undefined ? name : `${group}/${name}`, version, hashes === undefined ? "" : "hash"].join(" "),
  );
  expect(listed.toSorted()).toEqual(packages.toSorted());
});

const flat = (components: Component[]): Component[] =>
  components.flatMap((component) => [component, ...flat(component.components ?? [])]);
