import type { Config } from "./settings.ts";

/** What is valid but unsafe in production. One sentence each, with the remedy. */
export function configWarnings({ production, baseUrl, databaseUrl }: Config): string[] {
  if (!production) return [];
  const warnings: string[] = [];
  if (baseUrl?.startsWith("http://") && !isLoopback(new URL(baseUrl).hostname)) {
    warnings.push("BASE_URL begins with http://: links with tokens travel unencrypted. Use https://");
  }
  if (databaseUrl !== undefined && databaseUrl.socketPath === undefined && !isLoopback(databaseUrl.hostname)) {
    const { tls } = databaseUrl;
    if (tls === "prefer" || tls === "allow") {
      warnings.push(
        `DATABASE_URL has sslmode=${tls}, the default being prefer: whoever controls the network can turn encryption off. Set sslmode=verify-full, or sslmode=disable in a network that you trust`,
      );
    }
  }
  return warnings;
}

const isLoopback = (host: string): boolean => /^(localhost|127\.[0-9.]+|\[?::1\]?)$/.test(host);
