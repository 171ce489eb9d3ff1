// What the parts of a form share.

import type { Path, Schema } from '$/manifest/schema';

/** A document that a form changes. */
export interface Form {
  root: Schema;
  /** What is wrong, by place (`pathText`). */
  issues: ReadonlyMap<string, string>;
  readonly: boolean;
  /** Another value; `undefined` takes it away. */
  edit(path: Path, value: unknown): void;
  append(path: Path, item: unknown): void;
  move(path: Path, from: number, to: number): void;
  rename(path: Path, name: string): void;
  /** Names that may be written at a place because something else in the document, or in the team, has them. */
  names(path: Path): string[];
}
