// JSON Schema, as far as Squall's own schemas use it.

/** A schema, or a part of one. */
export interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  type?: string | string[];
  title?: string;
  description?: string;
  /** What its type says of itself, where the place that uses it says more: `a time with its unit`. */
  says?: string;
  const?: unknown;
  enum?: unknown[];
  default?: unknown;
  examples?: unknown[];
  pattern?: string;
  format?: string;
  /** OpenAPI's form of `examples`. */
  example?: unknown;
  minimum?: number;
  maximum?: number;
  minItems?: number;
  maxItems?: number;
  minLength?: number;
  maxLength?: number;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: Schema | boolean;
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
  if?: Schema;
  then?: Schema;
}

/** A place in a document. */
export type Path = readonly (string | number)[];

/** `spec.method[0].with.delay`. */
export function pathText(path: Path): string {
  return path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`)).join('');
}

/** A mapping, as YAML or JSON has it. */
export function isMap(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

const isNull = (schema: Schema) => schema.type === 'null';

// A document is looked at with every keystroke, and has the same few schemas hundreds of times: what comes of each is kept.
const resolved = new WeakMap<Schema, WeakMap<Schema, Schema>>();
const merged = new WeakMap<Schema, Map<string, Schema>>();
const listed = new WeakMap<Schema, { value: string; description?: string }[] | undefined>();

/** The schema that a reference stands for; what is written beside the reference wins. Options (`anyOf: [X, null]`) become X. */
export function resolve(root: Schema, schema: Schema): Schema {
  let known = resolved.get(root);
  if (!known) resolved.set(root, (known = new WeakMap()));
  let found = known.get(schema);
  if (!found) known.set(schema, (found = followed(root, schema)));
  return found;
}

function followed(root: Schema, schema: Schema): Schema {
  let at = schema;
  for (let depth = 0; depth < 32; depth++) {
    if (at.$ref !== undefined) {
      const name = at.$ref.replace(/^#\/(\$defs|components\/schemas)\//, '');
      const target = at.$ref === '#' ? root : root.$defs?.[name];
      if (!target) return {};
      const { $ref: _, ...beside } = at;
      const says = target.says ?? target.description;
      at = { ...target, ...beside, ...(says === undefined ? {} : { says }) };
    } else if (at.anyOf?.some(isNull) || at.oneOf?.some(isNull) || (at.oneOf?.length === 1 && !at.oneOf[0]?.required)) {
      const { anyOf, oneOf, ...beside } = at;
      const rest = (anyOf ?? oneOf ?? []).filter((option) => !isNull(option));
      const [only] = rest;
      if (rest.length !== 1 || !only) return { ...beside, anyOf: rest };
      at = { ...only, ...beside };
    } else {
      return Array.isArray(at.type) && at.type.includes('null') ? { ...at, type: one(at.type.filter((t) => t !== 'null')) } : at;
    }
  }
  return at;
}

function one(types: string[]): string | string[] {
  return types.length === 1 && types[0] !== undefined ? types[0] : types;
}

/** The types that a schema allows; none where it says nothing. */
export function typesOf(schema: Schema): string[] {
  return schema.type === undefined ? [] : Array.isArray(schema.type) ? schema.type : [schema.type];
}

/** The texts that a schema allows, where it is a list of them, each with what it means. */
export function choices(schema: Schema): { value: string; description?: string }[] | undefined {
  if (!listed.has(schema)) listed.set(schema, words(schema));
  return listed.get(schema);
}

function words(schema: Schema): { value: string; description?: string }[] | undefined {
  if (schema.enum?.every((value) => typeof value === 'string')) return schema.enum.map((value) => ({ value: String(value) }));
  const options = schema.oneOf ?? schema.anyOf;
  if (!options?.length || !options.every((option) => typeof option.const === 'string')) return undefined;
  return options.map((option) => ({
    value: String(option.const),
    ...(option.description === undefined ? {} : { description: option.description }),
  }));
}

/** The keys of which exactly one has to be there: a probe's kind, a target's, an expectation's comparison. */
export function exclusive(schema: Schema): string[] | undefined {
  const keys = schema.oneOf?.map((option) => option.required ?? []);
  if (!schema.properties || !keys?.length || !keys.every((required) => required.length === 1)) return undefined;
  return keys.flat();
}

/** Whether `if` of a conditional holds: Squall's only ever ask for a constant. */
export function holds(condition: Schema, value: unknown): boolean {
  if (!isMap(value)) return false;
  const consts = Object.entries(condition.properties ?? {});
  return (condition.required ?? []).every((key) => key in value) && consts.every(([key, schema]) => value[key] === schema.const);
}

/** A schema with what its conditionals add for this value. */
export function conditioned(root: Schema, schema: Schema, value: unknown): Schema {
  const plain = resolve(root, schema);
  if (!plain.allOf) return plain;
  const holding = plain.allOf.flatMap((part, index) => (part.if && !holds(part.if, value) ? [] : [index]));
  let known = merged.get(plain);
  if (!known) merged.set(plain, (known = new Map()));
  const key = holding.join();
  let found = known.get(key);
  if (!found) known.set(key, (found = withParts(root, plain, holding)));
  return found;
}

function withParts(root: Schema, schema: Schema, holding: readonly number[]): Schema {
  let result: Schema = { ...schema };
  delete result.allOf;
  for (const index of holding) {
    const part = schema.allOf?.[index];
    const extra = part?.if ? part.then : part && resolve(root, part);
    if (!extra) continue;
    const properties = { ...result.properties, ...extra.properties };
    result = { ...result, properties, required: [...new Set([...(result.required ?? []), ...(extra.required ?? [])])] };
  }
  return result;
}

/** Every schema that could be meant for a value: itself, or those of its alternatives. */
export function alternatives(root: Schema, schema: Schema, value: unknown): Schema[] {
  const resolved = conditioned(root, schema, value);
  if (exclusive(resolved) || choices(resolved)) return [resolved];
  const options = resolved.oneOf ?? resolved.anyOf;
  return options ? options.flatMap((option) => alternatives(root, option, value)) : [resolved];
}

/** The schemas for what is under a key, or an index, of a value. */
export function below(root: Schema, schema: Schema, value: unknown, key: string | number): Schema[] {
  return alternatives(root, schema, value).flatMap((option): Schema[] => {
    if (typeof key === 'number') return typeof option.items === 'object' ? [option.items] : [];
    const property = option.properties?.[key];
    if (property) return [property];
    return typeof option.additionalProperties === 'object' ? [option.additionalProperties] : [];
  });
}

/** The schemas for a place of a document. */
export function schemasAt(root: Schema, value: unknown, path: Path): Schema[] {
  let schemas: Schema[] = [root];
  let at: unknown = value;
  for (const key of path) {
    schemas = schemas.flatMap((schema) => below(root, schema, at, key));
    at = Array.isArray(at) ? at[Number(key)] : isMap(at) ? at[key] : undefined;
  }
  return schemas;
}

/** The first paragraph of a description, on one line. */
export function summary(schema: Schema): string {
  return (schema.description ?? '').split('\n\n')[0]?.replace(/\s+/g, ' ').trim() ?? '';
}
