/** A column of a `Table`. */
export interface Column<T> {
  id: string;
  title: string;
  /** Its content: a text, unless the table's `cell` draws it. */
  text?: (item: T) => string;
  number?: boolean;
  /** Takes what the others leave. */
  wide?: boolean;
}
