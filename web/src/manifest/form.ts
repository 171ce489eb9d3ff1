// From a schema to a form: which field is shown how.

import { wanted } from './check';
import { choices, conditioned, exclusive, isMap, resolve, summary, typesOf, type Schema } from './schema';

/** How a value is entered. */
export type Widget =
  | { kind: 'fixed'; value: unknown }
  | { kind: 'words'; words: { value: string; description?: string }[] }
  | { kind: 'switch' }
  /** A moment, or a day. */
  | { kind: 'when'; day: boolean }
  | { kind: 'number'; whole: boolean; min?: number; max?: number }
  /** A text, or a quantity with its unit; `pattern` and `hint` say which. */
  | { kind: 'text'; pattern?: string; hint?: string; loose: boolean; long?: boolean }
  | { kind: 'list'; items: Schema }
  | { kind: 'map'; values: Schema }
  | { kind: 'group' }
  /** A value of one of several shapes. */
  | { kind: 'either'; options: Option[] };

/** One of several shapes. */
export interface Option {
  label: string;
  schema: Schema;
}

/** A field of a group. */
export interface Field {
  name: string;
  label: string;
  about: string;
  schema: Schema;
  required: boolean;
  given: boolean;
}

/** A group: its fields, and the keys of which one is chosen. */
export interface Group {
  fields: Field[];
  /** Of these exactly one is given. */
  one?: { keys: Field[]; chosen?: string };
}

/** How a schema's value is entered. */
export function widget(root: Schema, schema: Schema, value: unknown): Widget {
  const resolved = conditioned(root, schema, value);
  if (resolved.const !== undefined) return { kind: 'fixed', value: resolved.const };
  const words = choices(resolved);
  if (words) return { kind: 'words', words };
  if (resolved.properties) return { kind: 'group' };
  const options = resolved.oneOf ?? resolved.anyOf;
  if (options) return { kind: 'either', options: options.flatMap((option) => split(root, option)) };
  const types = typesOf(resolved);
  if (types.includes('array')) return { kind: 'list', items: typeof resolved.items === 'object' ? resolved.items : {} };
  if (types.includes('object')) {
    const values = resolved.additionalProperties;
    return typeof values === 'object' ? { kind: 'map', values } : { kind: 'group' };
  }
  if (types.length === 1 && types[0] === 'boolean') return { kind: 'switch' };
  if (types.length === 1 && (types[0] === 'integer' || types[0] === 'number')) {
    return {
      kind: 'number',
      whole: types[0] === 'integer',
      ...(resolved.minimum === undefined ? {} : { min: resolved.minimum }),
      ...(resolved.maximum === undefined ? {} : { max: resolved.maximum }),
    };
  }
  if (resolved.format === 'date-time' || resolved.format === 'date') return { kind: 'when', day: resolved.format === 'date' };
  const example = [...(resolved.examples ?? []), resolved.example].find((e) => typeof e === 'string' || typeof e === 'number');
  return {
    kind: 'text',
    // What may be a number as well is written as one where it looks like one.
    loose: types.length !== 1,
    ...(resolved.pattern === undefined ? {} : { pattern: resolved.pattern }),
    ...(example === undefined ? {} : { hint: `such as ${String(example)}` }),
  };
}

/** Words among several shapes become one shape: a list of words. */
function split(root: Schema, option: Schema): Option[] {
  const resolved = resolve(root, option);
  if (typeof resolved.const === 'string') return [{ label: resolved.const, schema: resolved }];
  const nested = choices(resolved) ? undefined : resolved.properties ? undefined : (resolved.oneOf ?? resolved.anyOf);
  if (nested) return nested.flatMap((inner) => split(root, inner));
  const [key, ...more] = Object.keys(resolved.properties ?? {});
  const label = key !== undefined && more.length === 0 ? key : (resolved.title ?? wanted(resolved).replace(/ \(`.*$/, ''));
  return [{ label, schema: resolved }];
}

/** Which of several shapes a value has; -1: none. */
export function shapeOf(options: readonly Option[], value: unknown): number {
  const exact = options.findIndex(({ schema }) => schema.const !== undefined && schema.const === value);
  if (exact >= 0) return exact;
  const kind = Array.isArray(value) ? 'array' : typeof value === 'number' ? 'number' : isMap(value) ? 'object' : typeof value;
  return options.findIndex(({ schema }) => {
    if (schema.const !== undefined) return false;
    const types = typesOf(schema).map((type) => (type === 'integer' ? 'number' : type));
    if (!types.includes(kind)) return false;
    if (!isMap(value)) return true;
    const keys = Object.keys(value);
    return (schema.required ?? []).every((key) => key in value) && keys.every((key) => !schema.properties || key in schema.properties);
  });
}

/** The fields of a group for a value. */
export function group(root: Schema, schema: Schema, value: unknown): Group {
  const resolved = conditioned(root, schema, value);
  const given = isMap(value) ? value : {};
  const needed = new Set(resolved.required ?? []);
  const fields = Object.entries(resolved.properties ?? {}).map(([name, property]): Field => {
    const inner = resolve(root, property);
    return {
      name,
      label: label(name),
      about: summary(property.description === undefined ? inner : property),
      schema: property,
      required: needed.has(name),
      given: name in given,
    };
  });
  const keys = exclusive(resolved);
  if (!keys) return { fields };
  const chosen = keys.find((key) => key in given);
  return {
    fields: fields.filter((field) => !keys.includes(field.name)),
    one: { keys: fields.filter((field) => keys.includes(field.name)), ...(chosen === undefined ? {} : { chosen }) },
  };
}

const ACRONYMS = new Set([
  'http',
  'https',
  'url',
  'tcp',
  'udp',
  'dns',
  'tls',
  'ip',
  'cpu',
  'pid',
  'api',
  'id',
  'uid',
  'sql',
  'grpc',
  'smtp',
  'ttl',
]);

/** `maxInFlight` as people write it, and `httpUrl` as `HTTP URL`. */
export function label(name: string): string {
  const words = name.replace(/([a-z0-9])([A-Z])/g, '$1 $2').toLowerCase();
  const written = words.replace(/[a-z]+/g, (word) => (ACRONYMS.has(word) ? word.toUpperCase() : word));
  return written.charAt(0).toUpperCase() + written.slice(1);
}

/** The least that a schema asks for: what a new item of a list begins as. */
export function blank(root: Schema, schema: Schema, depth = 0): unknown {
  const resolved = resolve(root, schema);
  if (resolved.const !== undefined) return resolved.const;
  const example = resolved.examples?.[0] ?? resolved.example;
  if (resolved.properties) {
    if (depth > 0 && isMap(example)) return example;
    const result: Record<string, unknown> = {};
    for (const key of resolved.required ?? []) {
      const property = resolved.properties[key];
      if (property) result[key] = blank(root, property, depth + 1);
    }
    const either = exclusive(resolved)?.[0];
    const property = either === undefined ? undefined : resolved.properties[either];
    if (either !== undefined && property) result[either] = blank(root, property, depth + 1);
    return result;
  }
  if (resolved.default !== undefined && resolved.default !== null) return resolved.default;
  const words = choices(resolved);
  if (words) return words[0]?.value ?? '';
  if (example !== undefined) return example;
  const options = resolved.oneOf ?? resolved.anyOf;
  if (options?.[0]) return blank(root, options[0], depth + 1);
  const types = typesOf(resolved);
  if (types.includes('array'))
    return typeof resolved.items === 'object' && (resolved.minItems ?? 0) > 0 ? [blank(root, resolved.items, depth + 1)] : [];
  if (types.includes('object')) return {};
  if (types.includes('string')) return '';
  if (types.includes('boolean')) return false;
  return types.includes('integer') || types.includes('number') ? (resolved.minimum ?? 0) : '';
}

/** What somebody typed, as the value that it means: `503` is a number where one may be, a parameter stays a text. */
export function typed(text: string, loose: boolean): unknown {
  if (!loose) return text;
  const trimmed = text.trim();
  if (/^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(trimmed)) return Number(trimmed);
  if (trimmed === 'true' || trimmed === 'false') return trimmed === 'true';
  return text;
}

/** The arguments that a kind of fault asks for: what a new step of it begins with. */
export function faultStep(root: Schema, fault: string, target: unknown): Record<string, unknown> {
  const step = resolve(root, { $ref: `#/$defs/${root.$defs?.['Step'] ? 'Step' : 'MonkeyFault'}` });
  const forFault = conditioned(root, step, { fault });
  const arguments_ = resolve(root, forFault.properties?.['with'] ?? {});
  const result: Record<string, unknown> = { fault };
  if (isMap(target)) result['target'] = target;
  const [example] = arguments_.examples ?? [];
  if (isMap(example)) result['with'] = example;
  else if (arguments_.required?.length) result['with'] = blank(root, arguments_);
  if (forFault.required?.includes('for')) result['for'] = '30s';
  return result;
}

/** The kind of target that a fault is most likely meant for, as a value to begin with. */
export function likelyTarget(fault: string): Record<string, unknown> {
  const [family = ''] = fault.split('.');
  if (family === 'app') return { app: { service: 'checkout' } };
  if (['process', 'cpu', 'memory'].includes(family)) return { process: { name: 'payments' } };
  if (['proxy', 'http', 'stream', 'model', 'data', 'tls', 'function'].includes(family)) return { proxy: { name: 'payments' } };
  return { host: {} };
}
