// A YAML text and its value. Changes keep whatever they do not touch: comments, order, styles, and fields that nobody here knows.

import { Document, isCollection, isMap, isScalar, isSeq, parseDocument, Scalar, visit, type Node, type Pair, type YAMLMap } from 'yaml';
import { mask, unmask, unmaskDeep } from './mask';
import type { Path } from './schema';

/** A text that was read. */
export interface Reading {
  doc: Document.Parsed;
  /** What it says; parameters are still mentions. */
  value: unknown;
  /** Why it is no YAML, with offsets into the text. */
  errors: { from: number; to: number; message: string }[];
}

const OPTIONS = { keepSourceTokens: false, prettyErrors: false, uniqueKeys: true } as const;

/** Reads a text. There is a value even when something is wrong with it: as much as can be understood. */
export function read(text: string): Reading {
  const doc = parseDocument(mask(text), OPTIONS);
  const errors = doc.errors.map((error) => ({
    from: error.pos[0],
    to: Math.max(error.pos[1], error.pos[0] + 1),
    message: unmask(error.message),
  }));
  let value: unknown = null;
  try {
    value = unmaskDeep(doc.toJS({ maxAliasCount: 1000 }));
  } catch (error) {
    errors.push({ from: 0, to: 1, message: error instanceof Error ? error.message : String(error) });
  }
  return { doc, value, errors };
}

/** Where the value at a path is in the text; of a key, or of the nearest thing around it where there is none. */
export function place({ doc }: Reading, path: Path, key = false): { from: number; to: number } {
  for (let length = path.length; length > 0; length--) {
    const found = node(doc, path.slice(0, length), key && length === path.length);
    if (found?.range) {
      const [from, to] = found.range;
      // Of something long, only its beginning is marked.
      return { from, to: isCollection(found) ? Math.min(to, from + 1) : Math.max(to, from + 1) };
    }
  }
  return { from: 0, to: 1 };
}

function node(doc: Document, path: Path, key: boolean): Node | undefined {
  const parent: unknown = path.length > 1 ? doc.getIn(path.slice(0, -1), true) : doc.contents;
  const last = path[path.length - 1];
  if (isMap(parent)) {
    const pair = parent.items.find((item) => isScalar(item.key) && unmask(String(item.key.value)) === last);
    const value = pair?.value as Node | null | undefined;
    // A collection in block style begins on the next line: its key is the better mark.
    return key || !value?.range || isCollection(value) ? ((pair?.key as Node | undefined) ?? undefined) : value;
  }
  return isSeq(parent) ? ((parent.items[Number(last)] as Node | undefined) ?? undefined) : undefined;
}

/** The text with another value at a path; `undefined` takes it away. */
export function edit(text: string, path: Path, value: unknown): string {
  const { doc } = read(text);
  const old = path.length > 0 ? doc.getIn(path, true) : doc.contents;
  if (value === undefined) {
    doc.deleteIn(path);
    return write(doc, text);
  }
  if (isScalar(old) && old.range && !old.anchor && isPlain(value)) {
    const spliced = splice(text, doc, old, value);
    if (spliced !== undefined) return spliced;
  }
  makeWay(doc, path);
  doc.setIn(path, doc.createNode(masked(value)));
  return write(doc, text);
}

const isPlain = (value: unknown) => ['string', 'number', 'boolean'].includes(typeof value);

/** Replaces a scalar where it stands. */
function splice(text: string, doc: Document, old: Scalar, value: unknown): string | undefined {
  const [from, to] = old.range ?? [0, 0];
  if (from === to || text.slice(from, to).includes('\n')) return undefined;
  const fresh = new Document([masked(value)]);
  const item = fresh.get(0, true);
  // A text that was quoted stays so; anything else is quoted as far as it has to be.
  if (isScalar(item) && typeof value === 'string' && (old.type === 'QUOTE_DOUBLE' || old.type === 'QUOTE_SINGLE')) item.type = old.type;
  let flow = false;
  visit(doc, { Collection: (_, collection) => void (flow ||= collection.flow === true && within(collection.range, from)) });
  if (flow && isSeq(fresh.contents)) fresh.contents.flow = true;
  const written = fresh.toString({ lineWidth: 0, flowCollectionPadding: false }).trim();
  const piece = flow ? written.slice(1, -1) : written.slice(2);
  return piece.includes('\n') ? undefined : text.slice(0, from) + unmask(piece) + text.slice(to);
}

const within = (range: readonly number[] | null | undefined, at: number) => !!range && (range[0] ?? 0) < at && at < (range[1] ?? 0);

/** Makes mappings of what is in the way: an empty `spec:` is null. */
function makeWay(doc: Document, path: Path): void {
  for (let length = 0; length < path.length; length++) {
    const above = path.slice(0, length);
    const found = length > 0 ? doc.getIn(above, true) : doc.contents;
    if (isCollection(found)) continue;
    if (found === undefined && length > 0) return;
    const empty = doc.createNode(typeof path[length] === 'number' ? [] : {});
    if (length === 0) (doc as Document).contents = empty;
    else doc.setIn(above, empty);
  }
}

/** A value as the document is to have it: a text that is one parameter is written as it is. */
function masked(value: unknown): unknown {
  if (typeof value === 'string') return /^\$\{[^}\n]*\}$/.test(value) ? mask(value) : value;
  if (Array.isArray(value)) return value.map(masked);
  if (value !== null && typeof value === 'object')
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, masked(inner)]));
  return value;
}

function write(doc: Document, before: string): string {
  const text = doc.toString({
    lineWidth: 0,
    // As the author has it.
    indentSeq: !/^( *)[\w-]+:\n\1- /m.test(before),
    flowCollectionPadding: !/[{[][^\s{}[\]]/.test(before.replace(/"[^"\n]*"/g, '')),
  });
  return unmask(text);
}

/** The text with one more item at the end of a list. */
export function append(text: string, path: Path, item: unknown): string {
  const list = read(text).doc.getIn(path, true);
  return edit(text, isSeq(list) ? [...path, list.items.length] : path, isSeq(list) ? item : [item]);
}

/** The text with an item of a list in another place. */
export function move(text: string, path: Path, from: number, to: number): string {
  const { doc } = read(text);
  const list = doc.getIn(path, true);
  if (!isSeq(list) || to < 0 || to >= list.items.length) return text;
  const [item] = list.items.splice(from, 1);
  list.items.splice(to, 0, item);
  return write(doc, text);
}

/** The text with another name for a key, in its place. */
export function rename(text: string, path: Path, name: string): string {
  const { doc } = read(text);
  const parent = path.length > 1 ? doc.getIn(path.slice(0, -1), true) : doc.contents;
  if (!isMap(parent) || parent.has(name)) return text;
  const pair = (parent as YAMLMap).items.find((item) => isScalar(item.key) && item.key.value === path[path.length - 1]) as Pair | undefined;
  if (!pair) return text;
  pair.key = doc.createNode(name);
  return write(doc, text);
}
