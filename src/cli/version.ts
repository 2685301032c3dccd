import packageJson from "../../package.json" with { type: "json" };
import type { Command } from "./command.ts";

export const version: Command = {
  name: "version",
  summary: "Show the version",
  async run() {
    console.log(packageJson.version);
  },
};
