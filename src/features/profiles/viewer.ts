import type { Database } from "../../db/pool.ts";
import { type Parameter, read, type Statement } from "../../db/statements.ts";

/** What anybody may read, as JSON text, and whether the viewer who read it is an account that is gone. */
export type Seen = { readonly answer: string; readonly viewerGone: boolean };

/** A statement about what looks different to everybody who reads it. */
export type ReadByViewer<Row> = { readonly forViewer: Statement<Row>; readonly forNobody: Statement<Row> };

/**
 * Makes a statement in two versions. Nobody follows nobody and has no favourites: their version has a null where the
 * other has its last parameter, and the planner leaves out all that hangs on it, a third of what one article costs.
 * @param text is given the viewer as SQL: the parameter behind its own, such as `$3::bigint`, or `null::bigint`
 */
export function readByViewer<Row>(name: string, text: (viewer: string) => string): ReadByViewer<Row> {
  const forNobody = text("null::bigint");
  const parameters = Math.max(0, ...Array.from(forNobody.matchAll(/\$([0-9]+)/g), ([, number]) => Number(number)));
  return {
    forViewer: read(name, text(`$${parameters + 1}::bigint`)),
    forNobody: read(`${name}_for_nobody`, forNobody),
  };
}

/** The first row as the viewer sees it, or nobody. */
export function rowSeen<Row>(
  db: Database,
  { forViewer, forNobody }: ReadByViewer<Row>,
  viewerId: string | null,
  parameters: Parameter[],
): Promise<Row | undefined> {
  return viewerId === null ? db.row(forNobody, parameters) : db.row(forViewer, [...parameters, viewerId]);
}

/** Whether the viewer is an account that is gone, for answers that anybody may read. */
export const viewerGone = (viewer: string): string => `(${viewer} is not null and not exists (
    select from users where id = ${viewer})) as viewer_gone`;
