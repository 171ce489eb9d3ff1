// The description of the API as a page reads it: as much of OpenAPI 3.1 as ours uses.

export interface Schema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  description?: string;
  enum?: unknown[];
  items?: Schema;
  properties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
  required?: string[];
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
}

export interface Parameter {
  name: string;
  in: string;
  required?: boolean;
  description?: string;
  schema?: Schema;
}

export interface Operation {
  summary?: string;
  description?: string;
  tags?: string[];
  parameters?: Parameter[];
  requestBody?: { required?: boolean; content: Record<string, { schema?: Schema }> };
  responses: Record<string, { description: string; content?: Record<string, { schema?: Schema }> }>;
}

export interface Description {
  info: { title: string; version: string; description?: string };
  paths: Record<string, Record<string, Operation>>;
  components?: { schemas?: Record<string, Schema> };
}

/** One operation, with where it is. */
export interface Entry {
  method: string;
  path: string;
  tag: string;
  operation: Operation;
}

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];

/** Every operation, by tag, in the order of the paths. */
export function entries(description: Description): Map<string, Entry[]> {
  const byTag = new Map<string, Entry[]>();
  for (const [path, operations] of Object.entries(description.paths)) {
    for (const method of METHODS) {
      const operation = operations[method];
      if (!operation) continue;
      const tag = operation.tags?.[0] ?? 'other';
      byTag.set(tag, [...(byTag.get(tag) ?? []), { method, path, tag, operation }]);
    }
  }
  return new Map([...byTag].sort(([a], [b]) => a.localeCompare(b)));
}

/** The name that a reference ends with. */
export function nameOf(reference: string): string {
  return reference.split('/').at(-1) ?? reference;
}

/** A type in words: `Run`, `list of Run`, `string (date-time)`, `number or null`. */
export function typeOf(schema: Schema | undefined): string {
  if (!schema) return 'anything';
  if (schema.$ref) return nameOf(schema.$ref);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(' | ');
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return [...new Set(choices.map(typeOf))].join(' or ');
  if (schema.allOf) return schema.allOf.map(typeOf).join(' and ');
  const types = [schema.type ?? []].flat();
  if (types.includes('array')) return `list of ${typeOf(schema.items)}${types.includes('null') ? ' or null' : ''}`;
  if (types.includes('object') && typeof schema.additionalProperties === 'object') return `map to ${typeOf(schema.additionalProperties)}`;
  const words = types.map((type) => (schema.format && type !== 'null' ? `${type} (${schema.format})` : type));
  return words.join(' or ') || 'anything';
}

/** The named types that a type is made of, itself first, each once. */
export function named(schema: Schema | undefined, all: Record<string, Schema>, found: string[] = []): string[] {
  if (!schema) return found;
  if (schema.$ref) {
    const name = nameOf(schema.$ref);
    if (found.includes(name)) return found;
    found.push(name);
    return named(all[name], all, found);
  }
  const extra = typeof schema.additionalProperties === 'object' ? [schema.additionalProperties] : [];
  const parts = [
    ...(schema.oneOf ?? []),
    ...(schema.anyOf ?? []),
    ...(schema.allOf ?? []),
    ...Object.values(schema.properties ?? {}),
    ...extra,
  ];
  for (const part of schema.items ? [...parts, schema.items] : parts) named(part, all, found);
  return found;
}

/** A line for a shell that asks this. */
export function curl(entry: Entry, origin: string): string {
  const body = entry.operation.requestBody ? ` -H 'Content-Type: application/json' -d @body.json` : '';
  const method = entry.method === 'get' ? '' : ` -X ${entry.method.toUpperCase()}`;
  return `curl${method} -H "Authorization: Bearer $SQUALL_TOKEN"${body} '${origin}${entry.path}'`;
}
