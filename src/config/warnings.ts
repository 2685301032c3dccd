import type { Config } from "./settings.ts";

/** What is valid but unsafe in production. One sentence each, with the remedy. */
export function configWarnings({ production, baseUrl, verifyUrl, resetUrl, databaseUrl }: Config): string[] {
  if (!production) return [];
  const warnings: string[] = [];
  for (const [name, url] of Object.entries({ BASE_URL: baseUrl, VERIFY_URL: verifyUrl, RESET_URL: resetUrl })) {
    if (url?.startsWith("http://") && !isLoopback(new URL(url).hostname)) {
      warnings.push(`${name} begins with http://: links with tokens travel unencrypted. Use https://`);
    }
  }
  for (const [name, address] of Object.entries({
    DATABASE_URL: databaseUrl,
    DATABASE_DIRECT_URL: databaseUrl?.direct,
  })) {
    if (address === undefined || address.socketPath !== undefined || isLoopback(address.hostname)) continue;
    if (address.tls === "prefer" || address.tls === "allow") {
      warnings.push(
        `${name} has sslmode=${address.tls}, the default being prefer: whoever controls the network can turn encryption off. Set sslmode=verify-full, or sslmode=disable in a network that you trust`,
      );
    }
  }
  return warnings;
}

const isLoopback = (host: string): boolean => /^(localhost|127\.[0-9.]+|\[?::1\]?)$/.test(host);
