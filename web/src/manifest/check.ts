// What is wrong with a document by its schema: at once, at every keystroke. The server has the last word.

import { mentions } from './mask';
import { choices, conditioned, exclusive, isMap, resolve, typesOf, type Path, type Schema } from './schema';

/** Something that is wrong. */
export interface Issue {
  path: Path;
  message: string;
  /** It is about the key itself, not about its value. */
  key?: boolean;
}

const patterns = new Map<string, RegExp>();

function fits(pattern: string, text: string): boolean {
  let known = patterns.get(pattern);
  if (!known) patterns.set(pattern, (known = new RegExp(pattern)));
  return known.test(text);
}

/** Everything that is wrong with a value. */
export function check(root: Schema, value: unknown): Issue[] {
  return issues(root, root, value, []);
}

function issues(root: Schema, schema: Schema, value: unknown, path: Path): Issue[] {
  // What a parameter will be is known when it is filled in.
  if (typeof value === 'string' && mentions(value)) return [];
  const resolved = conditioned(root, schema, value);
  if (value === null || value === undefined) {
    return allowsNull(schema) || typesOf(resolved).length === 0
      ? []
      : [{ path, message: `something is missing here: ${wanted(resolved)}` }];
  }
  const kind = kindOf(value);
  const types = typesOf(resolved);
  if (types.length > 0 && !types.some((type) => type === kind || (type === 'number' && kind === 'integer'))) {
    return [{ path, message: `expected ${wanted(resolved)}` }];
  }
  if (resolved.const !== undefined && resolved.const !== value) return [{ path, message: `has to be \`${String(resolved.const)}\`` }];
  const words = choices(resolved);
  if (words) {
    if (words.some((word) => word.value === value)) return [];
    const near =
      typeof value === 'string'
        ? nearest(
            value,
            words.map((word) => word.value),
          )
        : undefined;
    const list = words.length <= 8 ? `: ${words.map((word) => word.value).join(', ')}` : '';
    return [{ path, message: `\`${show(value)}\` is none of what may be here${list}${near ? `; did you mean \`${near}\`?` : ''}` }];
  }
  const own = isMap(value)
    ? ofMap(root, resolved, value, path)
    : Array.isArray(value)
      ? ofList(root, resolved, value, path)
      : ofScalar(resolved, value, path);
  return [...own, ...ofAlternatives(root, resolved, value, path)];
}

function ofScalar(schema: Schema, value: unknown, path: Path): Issue[] {
  if (typeof value === 'string') {
    if (schema.pattern !== undefined && !fits(schema.pattern, value)) return [{ path, message: `expected ${wanted(schema)}` }];
    if (schema.minLength !== undefined && value.length < schema.minLength) return [{ path, message: 'is too short' }];
  }
  if (typeof value === 'number') {
    // A quantity as a bare number is only ever 0 (a time, a size) or a share: its description says it better than its bounds.
    const low = schema.minimum !== undefined && value < schema.minimum;
    const high = schema.maximum !== undefined && value > schema.maximum;
    if (low || high) return [{ path, message: schema.pattern ? `expected ${wanted(schema)}` : `has to be ${bounds(schema)}` }];
  }
  return [];
}

function ofList(root: Schema, schema: Schema, value: unknown[], path: Path): Issue[] {
  const found: Issue[] = [];
  if (schema.minItems !== undefined && value.length < schema.minItems)
    found.push({ path, message: `has to have at least ${schema.minItems}` });
  if (schema.maxItems !== undefined && value.length > schema.maxItems) found.push({ path, message: `may have at most ${schema.maxItems}` });
  const { items } = schema;
  if (typeof items === 'object') value.forEach((item, i) => found.push(...issues(root, items, item, [...path, i])));
  return found;
}

function ofMap(root: Schema, schema: Schema, value: Record<string, unknown>, path: Path): Issue[] {
  const found: Issue[] = [];
  const known = schema.properties ?? {};
  for (const key of schema.required ?? []) {
    if (!(key in value)) found.push({ path, key: true, message: `\`${key}\` is missing` });
  }
  for (const [key, inner] of Object.entries(value)) {
    const property = known[key];
    if (property) found.push(...issues(root, property, inner, [...path, key]));
    else if (typeof schema.additionalProperties === 'object')
      found.push(...issues(root, schema.additionalProperties, inner, [...path, key]));
    else if (schema.additionalProperties === false && !mentions(key)) {
      const near = nearest(key, Object.keys(known));
      found.push({
        path: [...path, key],
        key: true,
        message: `\`${key}\` is not a field here${near ? `; did you mean \`${near}\`?` : ''}`,
      });
    }
  }
  const keys = exclusive(schema);
  if (keys) {
    const given = keys.filter((key) => key in value);
    if (given.length === 0) found.push({ path, key: true, message: `one of these is needed: ${keys.join(', ')}` });
    if (given.length > 1) found.push({ path, key: true, message: `only one of these may be here: ${given.join(', ')}` });
  }
  return found;
}

function ofAlternatives(root: Schema, schema: Schema, value: unknown, path: Path): Issue[] {
  const options = exclusive(schema) ? undefined : (schema.oneOf ?? schema.anyOf);
  if (!options) return [];
  const tried = options.map((option) => ({ option: resolve(root, option), found: issues(root, option, value, path) }));
  if (tried.some(({ found }) => found.length === 0)) return [];
  // What is nearest to what was meant: the alternative of the same shape with the fewest mistakes that are deeper inside.
  const alike = tried.filter(({ option }) => sameShape(option, value)).sort((a, b) => a.found.length - b.found.length);
  const [best] = alike;
  if (best && (alike.length === 1 || isMap(value))) return best.found;
  const what = schema.description?.split('\n')[0] ?? tried.map(({ option }) => wanted(option)).join(', or ');
  return [{ path, message: `cannot be so. ${what}` }];
}

function sameShape(option: Schema, value: unknown): boolean {
  const types = typesOf(option);
  if (!types.includes(kindOf(value)) && !(kindOf(value) === 'integer' && types.includes('number'))) return false;
  return !isMap(value) || !option.required || option.required.some((key) => key in value);
}

function allowsNull(schema: Schema): boolean {
  return typesOf(schema).includes('null') || (schema.anyOf ?? []).some((option) => option.type === 'null');
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value;
}

/** What belongs somewhere, in words. */
export function wanted(schema: Schema): string {
  if (schema.const !== undefined) return `\`${String(schema.const)}\``;
  const says = schema.says ?? schema.description;
  if (schema.pattern !== undefined && says) return lower(says.split('\n')[0] ?? '');
  const words = choices(schema);
  if (words) return words.length <= 8 ? `one of ${words.map((word) => word.value).join(', ')}` : 'a word of the list';
  const names: Record<string, string> = {
    object: 'a mapping (`key: value`)',
    array: 'a list (`- …`)',
    string: 'a text',
    integer: 'a whole number',
    number: 'a number',
    boolean: '`true` or `false`',
  };
  const types = typesOf(schema).map((type) => names[type] ?? type);
  return types.length > 0 ? types.join(' or ') : 'a value';
}

const lower = (text: string) => text.charAt(0).toLowerCase() + text.slice(1).replace(/\.$/, '');

function bounds({ minimum, maximum }: Schema): string {
  if (minimum === undefined) return `at most ${maximum}`;
  return maximum === undefined ? `at least ${minimum}` : `from ${minimum} to ${maximum}`;
}

function show(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** The word of a list that is nearest to another, if any is near. */
export function nearest(word: string, words: readonly string[]): string | undefined {
  const most = Math.max(1, Math.floor(word.length / 3));
  const ranked = words.map((other) => ({ other, far: distance(word.toLowerCase(), other.toLowerCase()) })).sort((a, b) => a.far - b.far);
  return ranked[0] && ranked[0].far <= most ? ranked[0].other : undefined;
}

/** Optimal string alignment: insertions, deletions, replacements, and neighbours that changed places. */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  const at = (i: number, j: number) => rows[i]?.[j] ?? 0;
  for (let i = 1; i <= a.length; i++) {
    rows.push([i]);
    for (let j = 1; j <= b.length; j++) {
      let least = Math.min(at(i, j - 1) + 1, at(i - 1, j) + 1, at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) least = Math.min(least, at(i - 2, j - 2) + 1);
      rows[i]?.push(least);
    }
  }
  return at(a.length, b.length);
}
