// What can be written at a place of a YAML text, by a schema.

import { isMap as isYamlMap, isPair, isScalar, isSeq, visit, type Node } from 'yaml';
import { read } from './document';
import { alternatives, choices, exclusive, isMap, resolve, schemasAt, summary, typesOf, type Path, type Schema } from './schema';

/** Where a cursor is. */
export interface Position {
  /** The mapping whose key is being written, or the place whose value is. */
  path: Path;
  role: 'key' | 'value';
  /** Where the word under the cursor begins. */
  from: number;
  /** The document without that word. */
  value: unknown;
}

/** Something that can be written. */
export interface Suggestion {
  label: string;
  kind: 'field' | 'value';
  /** What goes into the text, if not the label. */
  insert?: string;
  /** In two words: `required`, the type. */
  detail?: string;
  info?: string;
}

const MARK = 'zzCursorzz';

/** Finds out where a cursor is, also in a text that is half written. */
export function positionAt(text: string, cursor: number): Position | undefined {
  const start = text.lastIndexOf('\n', cursor - 1) + 1;
  const end = text.indexOf('\n', cursor) < 0 ? text.length : text.indexOf('\n', cursor);
  const before = text.slice(start, cursor);
  if (/(^|\s)#/.test(before)) return undefined;
  const word = /[\w.${}%/-]*$/.exec(before)?.[0] ?? '';
  const dashes = /^\s*(- +)*-$/.test(before);
  const from = dashes ? cursor : cursor - word.length;
  const rest = text.slice(cursor, end);
  const tail = /^[\w.%/-]*/.exec(rest)?.[0].length ?? 0;
  const lead = text.slice(start, from);
  const keyNext = /^\s*:/.test(rest.slice(tail));
  // In block style a lone word is a key only with its colon; at the start of an item it may be either.
  const asKey = /^\s*(- +)*$/.test(lead) && !keyNext;
  const marked = (suffix: string) => `${text.slice(0, from)}${MARK}${suffix}${text.slice(cursor + tail)}`;
  const tries = asKey ? [marked(':'), marked('')] : [marked('')];
  for (const attempt of tries) {
    const found = find(attempt);
    if (found) return { ...found, from };
  }
  return undefined;
}

function find(text: string): Omit<Position, 'from'> | undefined {
  const { doc, value } = read(text);
  let found: Omit<Position, 'from'> | undefined;
  visit(doc, {
    Scalar(role, scalar, ancestors) {
      if (scalar.value !== MARK) return undefined;
      const chain = ancestors.filter((a) => isYamlMap(a) || isSeq(a) || isPair(a));
      const path: (string | number)[] = [];
      chain.forEach((above, i) => {
        const next = chain[i + 1] ?? scalar;
        if (isPair(above) && (next !== scalar || role !== 'key')) path.push(String(isScalar(above.key) ? above.key.value : ''));
        if (isSeq(above)) path.push(above.items.indexOf(next as Node));
      });
      found = { path, role: role === 'key' ? 'key' : 'value', value: without(value) };
      return visit.BREAK;
    },
  });
  return found;
}

/** The value without the mark. */
function without(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item: unknown) => (item === MARK ? null : without(item)));
  if (!isMap(value)) return value;
  const entries = Object.entries(value).filter(([key]) => key !== MARK);
  return Object.fromEntries(entries.map(([key, inner]) => [key, inner === MARK ? null : without(inner)]));
}

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((at, key) => (Array.isArray(at) ? at[Number(key)] : isMap(at) ? at[key] : undefined), value);
}

/** What can be written at a position. */
export function suggestions(root: Schema, position: Position): Suggestion[] {
  const { path, role, value } = position;
  const here = valueAt(value, path);
  const schemas = schemasAt(root, value, path).flatMap((schema) => alternatives(root, schema, here));
  const fields = () => unique(schemas.flatMap((schema) => fieldsOf(root, schema, here)));
  if (role === 'key') {
    // The first word of a list's item may be the item itself.
    const last = path[path.length - 1];
    return typeof last === 'number' && !isMap(here) ? unique([...fields(), ...words(schemas)]) : fields();
  }
  const known = [...words(schemas), ...names(value, path)];
  return unique(typeof path[path.length - 1] === 'number' ? [...known, ...fields()] : known);
}

function fieldsOf(root: Schema, schema: Schema, here: unknown): Suggestion[] {
  const given = isMap(here) ? Object.keys(here) : [];
  const either = exclusive(schema) ?? [];
  const taken = either.some((key) => given.includes(key));
  return Object.entries(schema.properties ?? {})
    .filter(([key]) => !given.includes(key) && !(taken && either.includes(key)))
    .map(([key, property]) => {
      const inner = resolve(root, property);
      const needed = schema.required?.includes(key) ?? false;
      return {
        label: key,
        kind: 'field' as const,
        insert: `${key}: `,
        detail: needed ? 'required' : either.includes(key) ? 'one of these' : brief(inner),
        info: summary(property.description === undefined ? inner : property),
      };
    });
}

function words(schemas: Schema[]): Suggestion[] {
  return schemas.flatMap((schema): Suggestion[] => {
    const listed = choices(schema);
    if (listed)
      return listed.map(({ value, description }) => ({ label: value, kind: 'value', ...(description ? { info: description } : {}) }));
    if (schema.const !== undefined) return [{ label: String(schema.const), kind: 'value' }];
    if (typesOf(schema).includes('boolean')) return ['true', 'false'].map((label) => ({ label, kind: 'value' }));
    const examples = (schema.examples ?? []).filter((example) => ['string', 'number'].includes(typeof example));
    return examples.map((example) => ({ label: String(example), kind: 'value', detail: 'example' }));
  });
}

/** Names that the document itself gives: a guard names a probe, a probe names traffic, a comparison names a step. */
function names(value: unknown, path: Path): Suggestion[] {
  const list = (at: Path): Suggestion[] => {
    const items = valueAt(value, at);
    const named = Array.isArray(items) ? items.map((item: unknown) => (isMap(item) ? item['name'] : undefined)) : [];
    return named.filter((name) => typeof name === 'string').map((name) => ({ label: name, kind: 'value' }));
  };
  const [last, above] = [path[path.length - 1], path[path.length - 2]];
  if (last === 'step' && path.includes('compare')) return list(['spec', 'method']);
  if (last === 'probe') return list(['spec', 'hypothesis', 'probes']);
  return last === 'from' && above === 'traffic' ? list(['spec', 'traffic']) : [];
}

function brief(schema: Schema): string {
  if (choices(schema)) return 'word';
  const types = typesOf(schema);
  if (schema.pattern) return 'quantity';
  const known: Record<string, string> = {
    object: 'fields',
    array: 'list',
    string: 'text',
    integer: 'number',
    number: 'number',
    boolean: 'true, false',
  };
  return types[0] === undefined ? '' : (known[types[0]] ?? types[0]);
}

function unique(all: Suggestion[]): Suggestion[] {
  return [...new Map(all.map((one) => [one.label, one])).values()];
}

/** What a key of the document means: for the tooltip over it. */
export function explain(root: Schema, text: string, offset: number): { from: number; to: number; name: string; about: string } | undefined {
  const { doc, value } = read(text);
  let found: ReturnType<typeof explain>;
  visit(doc, {
    Pair(_, pair, ancestors) {
      const key = pair.key;
      if (!isScalar(key) || !key.range || offset < key.range[0] || offset > key.range[1]) return undefined;
      const chain = [...ancestors.filter((a) => isYamlMap(a) || isSeq(a) || isPair(a)), pair];
      const path: (string | number)[] = [];
      chain.forEach((above, i) => {
        if (isPair(above)) path.push(String(isScalar(above.key) ? above.key.value : ''));
        if (isSeq(above)) path.push(above.items.indexOf(chain[i + 1] as Node));
      });
      const [schema] = schemasAt(root, value, path);
      const about = schema ? (schema.description ?? resolve(root, schema).description) : undefined;
      if (about) found = { from: key.range[0], to: key.range[1], name: String(key.value), about };
      return visit.BREAK;
    },
  });
  return found;
}
