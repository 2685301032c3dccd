import type { Database } from "../../db/pool.ts";
import { type Parameter, read, type Speed, type Statement, slow } from "../../db/statements.ts";

/** SQL for the id of the user who reads, such as `:viewerId::bigint`; null for anonymous readers. */
export type Viewer = string | null;

/** The parameter with the viewer's id, in statements with named parameters. */
export const VIEWER = ":viewerId::bigint";

/** A read whose rows depend on who reads. */
export type ViewerRead<Row> = { readonly signedIn: Statement<Row>; readonly anonymous: Statement<Row> };

/**
 * Registers a read in two versions. Anonymous readers use a version of the statement without the look-ups for `following`
 * and `favorited`, which are a third of what one article costs.
 * @param text makes the statement, with named parameters, for a viewer
 */
export const readForViewer = <Row>(
  name: string,
  text: (viewer: Viewer) => string,
  speed: Speed = "fast",
): ViewerRead<Row> => ({
  signedIn: read(name, text(VIEWER), speed),
  anonymous: read(`${name}_anonymous`, text(null), speed),
});

/** The same read, for values with which it may take long. */
export const slowForViewer = <Row>({ signedIn, anonymous }: ViewerRead<Row>): ViewerRead<Row> => ({
  signedIn: slow(signedIn),
  anonymous: slow(anonymous),
});

/** The rows of a read for this viewer; `viewerId` null is an anonymous reader. */
export function rowsForViewer<Row>(
  db: Database,
  { signedIn, anonymous }: ViewerRead<Row>,
  viewerId: string | null,
  parameters: Readonly<Record<string, Parameter>>,
): Promise<Row[]> {
  return viewerId === null ? db.rows(anonymous, parameters) : db.rows(signedIn, { ...parameters, viewerId });
}

/** A column: whether the viewer's account was deleted. Their token is then treated as absent, which routes report. */
export const viewerGone = (viewer: Viewer): string =>
  `${viewer === null ? "false" : `not exists (select from users where id = ${viewer})`} as "viewerGone"`;
