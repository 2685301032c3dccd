import { BlockList, isIP } from "node:net";

/**
 * A list to look addresses up in.
 * @param networks each as `10.0.0.0/8` or `fd00::/8`, or a single address
 * @throws Error for anything else; its message completes a sentence that begins with the setting's name
 */
export function networkList(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [, address, prefix] = /^([0-9a-f.:]+?)(?:\/([0-9]{1,3}))?$/i.exec(network) ?? [];
    const family = address === undefined ? 0 : isIP(address);
    const bits = family === 4 ? 32 : 128;
    if (address === undefined || family === 0 || Number(prefix ?? bits) > bits) {
      throw new Error(`must be networks such as 10.0.0.0/8 or fd00::/8, not ${JSON.stringify(network)}`);
    }
    list.addSubnet(address, Number(prefix ?? bits), family === 4 ? "ipv4" : "ipv6");
  }
  return list;
}
