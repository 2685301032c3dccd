import type { Database } from "../src/db/pool.ts";
import type { Parameters, Statement } from "../src/db/statements.ts";
import { testApp } from "../test/support/harness.ts";
import type { Call } from "./endpoints.ts";

/** A statement by its name in the registry, with its parameters. */
export type StatementCall = readonly [name: string, parameters: Parameters];

/** Finds the statement that the program runs for a request. It does not run, so that writes write nothing. */
export type StatementFinder = (calls: readonly Call[]) => Promise<StatementCall[]>;

/** @param tokens of the users by name, signed with `jwtSecret` */
export function createStatementFinder(
  db: Database,
  jwtSecret: string,
  tokens: ReadonlyMap<string, string>,
): StatementFinder {
  let found: StatementCall | undefined;
  const rows = async <Row>(statement: Statement<Row>, parameters: Parameters): Promise<Row[]> => {
    found = [statement.name, parameters];
    throw new Error("found the statement");
  };
  const app = testApp(
    { ...db, rows, row: async (statement, parameters) => (await rows(statement, parameters))[0] },
    { jwtSecret },
  );
  return async (calls) => {
    const statements: StatementCall[] = [];
    for (const call of calls) {
      found = undefined;
      const { headers, body } = wireForm(call, tokens);
      const request = new Request(`http://localhost${call.path}`, {
        method: call.method,
        headers,
        ...(body === undefined ? {} : { body }),
      });
      const response = await app.fetch(request);
      if (found === undefined)
        throw new Error(`${call.method} ${call.path} ran no statement: ${await response.text()}`);
      statements.push(found);
    }
    return statements;
  };
}

/** The headers and the body of a request. */
export function wireForm(
  call: Call,
  tokens: ReadonlyMap<string, string>,
): { headers: Record<string, string>; body: string | undefined } {
  const token = call.as === undefined ? undefined : tokens.get(call.as);
  if (call.as !== undefined && token === undefined) throw new Error(`${call.as} is not signed in`);
  return {
    headers: {
      ...(token === undefined ? {} : { Authorization: `Token ${token}` }),
      ...(call.body === undefined ? {} : { "Content-Type": "application/json" }),
      ...call.headers,
    },
    body: call.body === undefined ? undefined : JSON.stringify(call.body),
  };
}
