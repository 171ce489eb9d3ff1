// Features of a host, grouped by what they are good for.

import type { components } from '$/api/schema';

export type Host = components['schemas']['Host'];
export type Feature = components['schemas']['HostFeature'];

/** Names and what was found, those that are missing last. */
export function sorted(features: Record<string, Feature>): [string, Feature][] {
  return Object.entries(features).sort(([a, one], [b, other]) => Number(other.available) - Number(one.available) || a.localeCompare(b));
}

export function summary(host: Host): string {
  const all = Object.values(host.features);
  const can = all.filter((feature) => feature.available).length;
  return `${can} of ${all.length}`;
}
