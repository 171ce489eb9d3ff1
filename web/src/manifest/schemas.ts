// The schemas of what people write, each a chunk of its own that is loaded when it is needed.

import { request } from '$/lib/client';
import type { Schema } from './schema';

/** What somebody writes. */
export type Kind = 'experiment' | 'policy' | 'schedule' | 'monkey';

const reference = import.meta.glob<Schema>('../../../docs/reference/*.schema.json', { import: 'default' });
const loaded = new Map<Kind, Promise<Schema>>();

/** The schema of a kind of document. */
export function schemaOf(kind: Kind): Promise<Schema> {
  let schema = loaded.get(kind);
  if (!schema) {
    const load = reference[`../../../docs/reference/${kind}.schema.json`];
    schema = load ? load() : Promise.reject(new Error(`there is no schema of ${kind}`));
    loaded.set(kind, schema);
  }
  return schema;
}

let described: Promise<Record<string, Schema>> | undefined;

/** The schema of a part of the API, as the server describes it. */
export async function schemaOfApi(name: string): Promise<Schema> {
  described ??= request('get', '/api/v1/openapi.json').then(async (response) => {
    const { components } = (await response.json()) as { components: { schemas: Record<string, Schema> } };
    return components.schemas;
  });
  const schemas = await described;
  return { ...schemas[name], $defs: schemas };
}
