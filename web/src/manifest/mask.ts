// Parameters of a manifest, `${name}` and `${name:-default}`, are filled in before YAML is read: `{ status: ${status:-503} }` is fine
// for Squall and no YAML. To read and edit such a text as YAML all the same, what is special in a mention is replaced by characters
// of the private use area, one for one, so that every offset stays what it was.

const MENTION = /\$\{([A-Za-z][\w-]*)(?::-([^}\n]*))?\}/g;
const SPECIAL = '{}:,[]#"\'&*!|>%@`-?';
const BASE = 0xe000;

/** A parameter that a text mentions. */
export interface Parameter {
  name: string;
  /** Its value where none is set; the first that is written counts for every mention. */
  fallback?: string;
}

/** The text with its parameters made into words that mean nothing to YAML. As long as before. */
export function mask(text: string): string {
  return text.replace(MENTION, (mention) =>
    Array.from(mention, (c) => {
      const at = SPECIAL.indexOf(c);
      return at < 0 ? c : String.fromCharCode(BASE + at);
    }).join(''),
  );
}

/** The inverse of `mask`. */
export function unmask(text: string): string {
  return text.replace(/[\ue000-\ue0ff]/g, (c) => SPECIAL[c.charCodeAt(0) - BASE] ?? c);
}

/** `unmask` for every text in a value. */
export function unmaskDeep(value: unknown): unknown {
  if (typeof value === 'string') return unmask(value);
  if (Array.isArray(value)) return value.map(unmaskDeep);
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [unmask(key), unmaskDeep(inner)]));
  }
  return value;
}

/** Whether a text has a parameter in it: what it will be is not known yet. */
export function mentions(text: string): boolean {
  return text.search(MENTION) >= 0;
}

/** The parameters of a text, in the order of their first mention. */
export function parametersOf(text: string): Parameter[] {
  const found = new Map<string, Parameter>();
  for (const match of text.matchAll(MENTION)) {
    // `$${` is how a text says `${` itself.
    if (match.index > 0 && text[match.index - 1] === '$') continue;
    const [, name = '', fallback] = match;
    const known = found.get(name);
    if (!known) found.set(name, fallback === undefined ? { name } : { name, fallback });
    else if (known.fallback === undefined && fallback !== undefined) known.fallback = fallback;
  }
  return [...found.values()];
}

/** The text with every parameter that has a value filled in; others stay. For looking at it: the server fills in for real. */
export function fill(text: string, values: Record<string, string>): string {
  const fallbacks = new Map(parametersOf(text).map((p) => [p.name, p.fallback]));
  return text.replace(MENTION, (mention, name: string, own: string | undefined) => values[name] ?? own ?? fallbacks.get(name) ?? mention);
}
