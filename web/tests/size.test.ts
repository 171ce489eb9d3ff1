// What a browser has to load before it shows anything: the page, its script and style, and the overview.

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const dist = new URL('../dist/', import.meta.url);
/** What comes with the first page, in bytes as they are sent (brotli). */
const FIRST = 120 * 1024;
/** Anything that comes later, at once. */
const PART = 160 * 1024;

function sent(name: string): number {
  const assets = readdirSync(new URL('assets/', dist));
  const compressed = `${name}.br`;
  return statSync(new URL(`assets/${assets.includes(compressed) ? compressed : name}`, dist)).size;
}

describe('the console', () => {
  it('loads little before it shows anything', () => {
    const page = readFileSync(new URL('index.html', dist), 'utf8');
    const named = [...page.matchAll(/assets\/([\w.-]+\.(?:js|css))/g)].map((found) => found[1] ?? '');
    expect(named.length).toBeGreaterThan(1);
    const overview = readdirSync(new URL('assets/', dist)).filter((name) => /^Overview-.*\.(js|css)$/.test(name));
    const total = [...new Set([...named, ...overview])].reduce((sum, name) => sum + sent(name), page.length);
    expect(total).toBeLessThan(FIRST);
  });

  it('has no part that is large', () => {
    const large = readdirSync(new URL('assets/', dist)).filter((name) => /\.(js|css)$/.test(name) && sent(name) > PART);
    expect(large).toEqual([]);
  });

  it('names nothing outside, and has no script or style within its page', () => {
    const page = readFileSync(new URL('index.html', dist), 'utf8');
    expect(page).not.toMatch(/https?:\/\//);
    expect(page).not.toMatch(/<script(?![^>]*\bsrc=)[^>]*>|<style|\sstyle=|\son\w+=/);
  });
});
