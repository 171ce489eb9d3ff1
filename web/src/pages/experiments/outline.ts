// What a list says of an experiment.

import { isMap } from '$/manifest/schema';

export interface Outline {
  statement: string;
  /** Kinds of fault, each once. */
  faults: string[];
  labels: Record<string, string>;
}

/** The outline of a manifest; of one that cannot be read, as much as there is. */
export function outline(manifest: Record<string, unknown>): Outline {
  const metadata = isMap(manifest['metadata']) ? manifest['metadata'] : {};
  const spec = isMap(manifest['spec']) ? manifest['spec'] : {};
  const hypothesis = isMap(spec['hypothesis']) ? spec['hypothesis'] : {};
  const labels = isMap(metadata['labels']) ? metadata['labels'] : {};
  return {
    statement: typeof hypothesis['statement'] === 'string' ? hypothesis['statement'] : '',
    faults: [...new Set(faults(spec['method']))],
    labels: Object.fromEntries(Object.entries(labels).map(([key, value]) => [key, String(value)])),
  };
}

function faults(steps: unknown): string[] {
  if (!Array.isArray(steps)) return [];
  return steps.flatMap((step: unknown) => {
    if (!isMap(step)) return [];
    const own = typeof step['fault'] === 'string' ? [step['fault']] : [];
    return [...own, ...faults(step['parallel']), ...faults(step['sequence'])];
  });
}
