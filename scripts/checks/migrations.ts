import { join } from "node:path";
import type {
  AlterTableCmd,
  AlterTableStmt,
  ColumnDef,
  Constraint,
  CreateStmt,
  IndexStmt,
  InsertStmt,
  Node,
} from "@pgsql/types";
import { loadModule, parseSync } from "libpg-query";
import { BASELINE, migrations } from "../../migrations/index.ts";
import { indexNameOf, type Migration } from "../../src/db/migration-steps.ts";
import { root } from "./files.ts";

/** What violates migrations/README.md, "Beside running servers", in the migrations after the first release. */
export async function checkMigrations(): Promise<string[]> {
  const { version } = await Bun.file(join(root, "package.json")).json();
  return await migrationProblems(migrations, BASELINE, version);
}

/**
 * @param baseline the last migration that need not follow the rules
 * @param released the version of the newest release
 */
export async function migrationProblems(
  all: readonly Migration[],
  baseline: string,
  released: string,
): Promise<string[]> {
  await loadModule();
  const problems: string[] = [];
  // `table column` for which an earlier migration has made sure that there are no nulls.
  const notNull = new Set<string>();
  const pending = new Map<string, string>();
  let oldest = "0.0.0";
  for (const migration of all) {
    const { file, oldestProgram } = migration;
    const statements = statementsOf(migration);
    if (migration.version > baseline) {
      if (oldestProgram === undefined) problems.push(`${file}: index.ts does not say oldestProgram`);
      else {
        if (Bun.semver.order(oldestProgram, released) > 0) {
          problems.push(
            `${file}: oldestProgram ${oldestProgram} is newer than the newest release, ${released}, which runs beside it during an upgrade`,
          );
        }
        if (Bun.semver.order(oldestProgram, oldest) < 0) {
          problems.push(
            `${file}: oldestProgram ${oldestProgram} is older than that of a migration before it, ${oldest}`,
          );
        }
        oldest = oldestProgram;
      }
      if (typeof statements === "string") problems.push(`${file}: ${statements}`);
      else problems.push(...checkStatements(migration, statements, notNull).map((problem) => `${file}: ${problem}`));
    }
    if (typeof statements !== "string") rememberNotNull(statements, pending, notNull);
  }
  return problems;
}

/** The statements of a migration, or why they cannot be parsed. */
function statementsOf({ sql }: Migration): Node[] | string {
  try {
    return (parseSync(sql).stmts ?? []).flatMap(({ stmt }) => stmt ?? []);
  } catch (error) {
    return (error as Error).message;
  }
}

function checkStatements(migration: Migration, statements: Node[], notNull: ReadonlySet<string>): string[] {
  if (migration.mode === "index") return checkIndexStep(migration, statements);
  if (migration.mode === "batches") return checkBatches(statements);
  const created = new Set(statements.flatMap((node) => ("CreateStmt" in node ? nameOf(node.CreateStmt.relation) : [])));
  const changed = new Set(statements.flatMap((node) => changedTable(node) ?? []).filter((name) => !created.has(name)));
  const problems = statements.flatMap((node) => checkStatement(migration, node, created, notNull));
  if (changed.size > 1) {
    problems.push(
      `changes ${[...changed].join(" and ")}: it keeps the lock on one while it waits for another. Write a file for each table`,
    );
  }
  if (changed.size > 0 && statements.some((node) => "InsertStmt" in node)) {
    problems.push(`inserts rows while it has a lock on ${[...changed].join(", ")}: write a file of its own`);
  }
  const validates = statements.some((node) =>
    commandsOf(node).some(({ subtype }) => subtype === "AT_ValidateConstraint"),
  );
  if (validates && (statements.length > 1 || statements.flatMap(commandsOf).length > 1)) {
    problems.push(
      "validates a constraint, which reads the whole table, next to something else: write a file of its own",
    );
  }
  return problems;
}

function checkIndexStep(migration: Migration, statements: Node[]): string[] {
  const [only, ...others] = statements;
  if (only === undefined || !("IndexStmt" in only) || others.length > 0) {
    return ["mode index: must be one `create index concurrently`"];
  }
  const { concurrent, idxname, if_not_exists: ifNotExists } = only.IndexStmt;
  if (!concurrent) return ["mode index: must be created concurrently"];
  if (ifNotExists) return ["mode index: `if not exists` accepts an invalid index; the program looks for one itself"];
  return indexNameOf(migration) === idxname
    ? []
    : ["mode index: must begin a line with `create index concurrently name`"];
}

function checkBatches(statements: Node[]): string[] {
  const [only, ...others] = statements;
  const isChange = only !== undefined && ["UpdateStmt", "DeleteStmt", "InsertStmt"].some((kind) => kind in only);
  if (!isChange || others.length > 0) return ["mode batches: must be one update, delete or insert"];
  return /"limitCount"/.test(JSON.stringify(only)) ? [] : ["mode batches: must have a limit"];
}

/** What a migration in a transaction may consist of besides changes of tables: it locks nothing that requests wait for. */
const HARMLESS = [
  "CreateFunctionStmt",
  "CreateDomainStmt",
  "CreateEnumStmt",
  "CreateSeqStmt",
  "CreateExtensionStmt",
  "CommentStmt",
  "DefineStmt",
  "AlterTSConfigurationStmt",
  "CreateTrigStmt",
  "ViewStmt",
];

function checkStatement(
  migration: Migration,
  node: Node,
  created: ReadonlySet<string>,
  notNull: ReadonlySet<string>,
): string[] {
  if ("CreateStmt" in node) return [];
  if ("IndexStmt" in node) return checkIndex(node.IndexStmt, created);
  if ("InsertStmt" in node) return checkInsert(node.InsertStmt, created);
  if ("DropStmt" in node) return checkDrop(migration, "drops something");
  if ("AlterTableStmt" in node) {
    const table = nameOf(node.AlterTableStmt.relation);
    if (created.has(table)) return [];
    return commandsOf(node).flatMap((command) => checkCommand(migration, table, command, notNull));
  }
  if ("UpdateStmt" in node || "DeleteStmt" in node) {
    return ["changes rows in one transaction, for which writes wait: write a file of the mode batches"];
  }
  if ("RenameStmt" in node) return ["renames something that older programs use: add the new, and drop the old later"];
  const [kind = "?"] = Object.keys(node);
  return HARMLESS.includes(kind) ? [] : [`${kind} is not known to be harmless (scripts/checks/migrations.ts)`];
}

function checkIndex({ relation, concurrent }: IndexStmt, created: ReadonlySet<string>): string[] {
  const table = nameOf(relation);
  if (concurrent) return ['creates an index concurrently in a transaction: say mode: "index" in index.ts'];
  if (created.has(table)) return [];
  return [`creates an index on ${table}, for which writes wait: write a file of the mode index, with \`concurrently\``];
}

function checkInsert({ relation }: InsertStmt, created: ReadonlySet<string>): string[] {
  const table = nameOf(relation);
  return created.has(table) ? [] : [`inserts into ${table}, which exists already: write a file of the mode batches`];
}

/** Programs as old as `oldestProgram` must not use it any more. */
function checkDrop({ sql, oldestProgram }: Migration, what: string): string[] {
  const [, unusedSince] = /^-- unused since (\d+\.\d+\.\d+)\b/m.exec(sql) ?? [];
  if (unusedSince === undefined) {
    return [
      `${what}: say in a line \`-- unused since X.Y.Z\` which released version was the first that does not use it`,
    ];
  }
  if (oldestProgram === undefined || Bun.semver.order(oldestProgram, unusedSince) >= 0) return [];
  return [`${what} that is unused since ${unusedSince}, but oldestProgram is ${oldestProgram}`];
}

/** Changes of tables that take no longer for a large one. */
const INSTANT = ["AT_ColumnDefault", "AT_DropNotNull", "AT_SetStatistics", "AT_SetStorage", "AT_SetRelOptions"];

function checkCommand(
  migration: Migration,
  table: string,
  { subtype, name = "", def }: AlterTableCmd,
  notNull: ReadonlySet<string>,
): string[] {
  const what = `${table}.${name}`;
  switch (subtype) {
    case "AT_AddColumn":
      return def !== undefined && "ColumnDef" in def ? checkColumn(table, def.ColumnDef) : [];
    case "AT_AddConstraint":
      return def !== undefined && "Constraint" in def ? checkConstraint(table, def.Constraint) : [];
    case "AT_SetNotNull":
      return notNull.has(`${table} ${name}`)
        ? []
        : [
            `sets ${what} not null, which reads the whole table: first add \`check (${name} is not null) not valid\`, and validate it in a file of its own`,
          ];
    case "AT_AlterColumnType":
      return [`changes the type of ${what}, which rewrites the table: add another column`];
    case "AT_DropColumn":
    case "AT_DropConstraint":
      return checkDrop(migration, `drops ${what}`);
    case "AT_ValidateConstraint":
      return [];
    default:
      return INSTANT.includes(subtype ?? "")
        ? []
        : [`${subtype} of ${table} is not known to be instant (scripts/checks/migrations.ts)`];
  }
}

function checkColumn(table: string, { colname, constraints = [] }: ColumnDef): string[] {
  const what = `${table}.${colname}`;
  const parts = constraints.flatMap((node) => ("Constraint" in node ? [node.Constraint] : []));
  const initial = parts.find(({ contype }) => contype === "CONSTR_DEFAULT");
  return parts.flatMap(({ contype }) => {
    if (contype === "CONSTR_NULL") return [];
    if (contype === "CONSTR_DEFAULT") {
      return isConstant(initial?.raw_expr)
        ? []
        : [`gives ${what} a default that is not a constant, which rewrites the table`];
    }
    if (contype === "CONSTR_NOTNULL") {
      return initial === undefined
        ? [`adds ${what} as not null without a default: inserts by older programs fail`]
        : [];
    }
    if (contype === "CONSTR_GENERATED" || contype === "CONSTR_IDENTITY") {
      return [`adds ${what} as generated, which rewrites the table: add an ordinary column, and fill it in batches`];
    }
    return [`adds ${what} with a constraint that reads the whole table: add it by itself, as \`not valid\``];
  });
}

/** A literal, possibly with a type, or the time of the statement, which is the same for all rows. */
function isConstant(node: Node | undefined): boolean {
  if (node === undefined) return false;
  if ("TypeCast" in node) return isConstant(node.TypeCast.arg);
  if ("FuncCall" in node) return JSON.stringify(node.FuncCall.funcname).includes('"now"');
  return "A_Const" in node || "SQLValueFunction" in node;
}

function checkConstraint(
  table: string,
  { contype, conname, skip_validation: isNotValid, indexname }: Constraint,
): string[] {
  const what = `adds ${conname ?? "a constraint"} to ${table}`;
  if (contype === "CONSTR_CHECK" || contype === "CONSTR_FOREIGN") {
    return isNotValid
      ? []
      : [`${what}, which reads the whole table: add it as \`not valid\`, and validate it in the next file`];
  }
  if ((contype === "CONSTR_UNIQUE" || contype === "CONSTR_PRIMARY") && indexname !== undefined) return [];
  return [`${what}, for which requests wait: first create its index in a file of the mode index, then \`using index\``];
}

/** Remembers constraints `check (column is not null)`, and which of them are validated. */
function rememberNotNull(statements: Node[], pending: Map<string, string>, notNull: Set<string>): void {
  for (const node of statements) {
    if (!("AlterTableStmt" in node)) continue;
    const table = nameOf(node.AlterTableStmt.relation);
    for (const { subtype, name, def } of commandsOf(node)) {
      if (subtype === "AT_AddConstraint" && def !== undefined && "Constraint" in def) {
        const column = columnNotNull(def.Constraint.raw_expr);
        if (column !== undefined) pending.set(`${table} ${def.Constraint.conname}`, `${table} ${column}`);
      }
      const column = pending.get(`${table} ${name}`);
      if (subtype === "AT_ValidateConstraint" && column !== undefined) notNull.add(column);
    }
  }
}

/** The column of an expression `column is not null`. */
function columnNotNull(node: Node | undefined): string | undefined {
  if (node === undefined || !("NullTest" in node) || node.NullTest.nulltesttype !== "IS_NOT_NULL") return undefined;
  const { arg } = node.NullTest;
  const [field] = arg !== undefined && "ColumnRef" in arg ? (arg.ColumnRef.fields ?? []) : [];
  return field !== undefined && "String" in field ? field.String.sval : undefined;
}

const nameOf = (relation: CreateStmt["relation"]): string => relation?.relname ?? "";

/** The table that a statement locks against reads or writes. */
function changedTable(node: Node): string | undefined {
  if ("AlterTableStmt" in node) return nameOf(node.AlterTableStmt.relation);
  if ("CreateTrigStmt" in node) return nameOf(node.CreateTrigStmt.relation);
  return undefined;
}

function commandsOf(node: Node): AlterTableCmd[] {
  const { cmds = [] }: AlterTableStmt = "AlterTableStmt" in node ? node.AlterTableStmt : {};
  return cmds.flatMap((command) => ("AlterTableCmd" in command ? [command.AlterTableCmd] : []));
}

if (import.meta.main) for (const problem of await checkMigrations()) console.log(problem);
