/** What a statement takes. Arrays go as PostgreSQL array literals: see `textArray`. */
export type Parameter = string | number | boolean | null;

/** Parameters by position (`$1`), or by name (`:userId`), as the statement is written. */
export type Parameters = readonly Parameter[] | NamedParameters;
export type NamedParameters = Readonly<Record<string, Parameter>>;

/**
 * Where a read runs: with many others on one connection, or apart from them because it may take long. Searches run apart from
 * both, so that a burst of them delays no other read, and the other way round.
 */
export type Speed = "fast" | "slow" | "search";

/** One SQL statement with the shape of its rows. Made once, at import, so that `npm run check` can prepare it. */
export type Statement<Row> = {
  /** For metrics, traces and error messages. */
  readonly name: string;
  /** With positional parameters, whatever it was written with. */
  readonly text: string;
  readonly kind: "read" | "write";
  readonly speed: Speed;
  /** The names of the parameters in the order of their positions; undefined where it was written with positions. */
  readonly parameterNames: readonly string[] | undefined;
  /** Of a statement for batches: the parameters in which the calls of a batch differ. */
  readonly batchKey: readonly string[] | undefined;
  /** Never set: carries the type of a row. */
  readonly row?: Row;
};

/** Every statement of the program, by name. */
export const statements = new Map<string, Statement<unknown>>();

/**
 * A statement that changes nothing.
 * @param text with parameters as `$1`, or as `:name` where there are more than three (`npm run check` enforces it)
 * @param speed "slow" where it may take more than a few milliseconds, or its best plan depends on the values
 */
export const read = <Row>(name: string, text: string, speed: Speed = "fast"): Statement<Row> =>
  register(name, text, "read", speed);

/** The same read, for values with which it may take more than a few milliseconds or return more than 64 KiB. */
export const slow = <Row>(statement: Statement<Row>): Statement<Row> => ({ ...statement, speed: "slow" });

/** A statement that changes something. It is a transaction of its own, unless it runs in one. */
export const write = <Row>(name: string, text: string): Statement<Row> => register(name, text, "write", "fast");

/**
 * A write that runs once for several calls (batches.ts).
 * @param types the parameters of a call, with their types
 * @param key the parameters in which the calls of a batch must differ, as a statement does not see what it writes itself
 * @param text common table expressions and a `select`. They find the calls in the table `item`, which has a column for each
 *   parameter, and `place`. The statement returns one row for each item, with its `place`.
 */
export function batch<Row>(
  name: string,
  { types, key = [] }: { types: Readonly<Record<string, string>>; key?: readonly string[] },
  text: string,
): Statement<Row> {
  const columns = Object.keys(types).map((column) => `"${column}"`);
  const arrays = Object.entries(types).map(([column, type]) => `:${column}::${type}[]`);
  const items = `select ${columns}, place::integer
       from unnest(${arrays}) with ordinality as item (${columns}, place)
      where (select :lockTimeoutMs::text is null or set_config('lock_timeout', :lockTimeoutMs, true) <> '')`;
  return register(name, `with item as materialized (${items}),\n${text}`, "write", "fast", key);
}

function register<Row>(
  name: string,
  written: string,
  kind: "read" | "write",
  speed: Speed,
  batchKey?: readonly string[],
): Statement<Row> {
  if (statements.has(name)) throw new Error(`two statements are named ${name}`);
  const { text, names } = withPositions(written);
  const statement: Statement<Row> = { name, text, kind, speed, parameterNames: names, batchKey };
  statements.set(name, statement);
  return statement;
}

/** A name, but neither a cast (`::text`) nor a part of a quoted text (`'"a":true'`). */
const NAMED = /(?<![:\w"']):([a-z]\w*)/g;

function withPositions(written: string): { text: string; names: string[] | undefined } {
  const names: string[] = [];
  const text = written.replace(NAMED, (_, name: string) => {
    if (!names.includes(name)) names.push(name);
    return `$${names.indexOf(name) + 1}`;
  });
  return { text, names: names.length === 0 ? undefined : names };
}

/** The values of a call in the order of the statement's positions. */
export function positional(statement: Statement<unknown>, parameters: Parameters): readonly Parameter[] {
  if (Array.isArray(parameters)) return parameters;
  const byName = parameters as NamedParameters;
  if (statement.batchKey !== undefined) return positionalOfBatch(statement, [byName], null);
  return (statement.parameterNames ?? []).map((name) => valueFor(statement, byName, name));
}

/**
 * The values of a batch of calls in the order of the statement's positions.
 * @param lockTimeoutMs how long the statement may wait for a lock; null for no limit of its own
 */
export function positionalOfBatch(
  statement: Statement<unknown>,
  calls: readonly NamedParameters[],
  lockTimeoutMs: number | null,
): readonly Parameter[] {
  return (statement.parameterNames ?? []).map((name) =>
    name === "lockTimeoutMs"
      ? (lockTimeoutMs?.toString() ?? null)
      : arrayLiteral(calls.map((call) => valueFor(statement, call, name))),
  );
}

function valueFor(statement: Statement<unknown>, parameters: NamedParameters, name: string): Parameter {
  const value = parameters[name];
  if (value === undefined) throw new Error(`statement ${statement.name} has no value for :${name}`);
  return value;
}

/** A PostgreSQL array literal of texts. */
export const textArray = (values: readonly string[]): string => arrayLiteral(values);

function arrayLiteral(values: readonly Parameter[]): string {
  const elements = values.map((value) => (typeof value === "string" ? quoted(value) : String(value)));
  return `{${elements.join(",")}}`;
}

const quoted = (text: string): string => `"${text.replace(/[\\"]/g, "\\$&")}"`;
