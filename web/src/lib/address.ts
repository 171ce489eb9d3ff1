// Addresses that somebody wrote: a link only where following it can do no more than open a page.

/** The address, if it is one of the web; `javascript:` and the like are none. */
export function webAddress(text: string | null | undefined): string | undefined {
  if (!text) return undefined;
  try {
    const url = new URL(text);
    return url.protocol === 'https:' || url.protocol === 'http:' ? url.href : undefined;
  } catch {
    return undefined;
  }
}
