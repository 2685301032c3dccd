import { isIPv6 } from "node:net";

/** An address as it is counted: itself, or for IPv6 its /64, the least that one customer gets (RFC 6177). */
export function addressKeyOf(address: string): string {
  return isIPv6(address) ? groupsOf(address).slice(0, 4).join(":") : address;
}

/**
 * The network of an address: its /24 for IPv4, its /48 for IPv6 (RFC 6177: what one site gets). One sender rarely has many
 * of these, and a person who moves between addresses of one provider often stays in theirs.
 */
export function networkKeyOf(address: string): string {
  if (isIPv6(address)) return `${groupsOf(address).slice(0, 3).join(":")}::/48`;
  return `${address.split(".").slice(0, 3).join(".")}.0/24`;
}

/** The eight groups of an IPv6 address, each without leading zeros (RFC 4291, 2.2). */
function groupsOf(address: string): string[] {
  const [head = "", tail] = address.split("::");
  const groups = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  while (tail !== undefined && groups.length + after.length < 8) groups.push("0");
  return [...groups, ...after].map((group) => Number.parseInt(group, 16).toString(16));
}
