// Registers 200 users, so that writers have sessions of their own, and writes their tokens into a file.
// usage: node register.mjs URL FILE

import { writeFileSync } from "node:fs";

const [url, file] = process.argv.slice(2);
const USERS = 200;
const AT_A_TIME = 4;

async function register(number) {
  const username = `peer${Date.now().toString(36)}x${number}`;
  const user = { username, email: `${username}@conduit.example`, password: "side by side" };
  for (;;) {
    const response = await fetch(`${url}/api/users`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user }),
    });
    if (response.status === 201) return (await response.json()).user.token;
    if (response.status !== 503 && response.status !== 429) {
      throw new Error(`registration: ${response.status} ${await response.text()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

const tokens = [];
for (let first = 0; first < USERS; first += AT_A_TIME) {
  const numbers = Array.from({ length: AT_A_TIME }, (_, i) => first + i);
  tokens.push(...(await Promise.all(numbers.map(register))));
}
writeFileSync(file, `${tokens.join("\n")}\n`);
