// Where the console is: the History API, and a list of patterns.

export interface Match {
  params: Record<string, string>;
}

/** `/runs/:run` against `/runs/42`. */
export function match(pattern: string, path: string): Match | undefined {
  const want = pattern.split('/').filter(Boolean);
  const have = path.split('/').filter(Boolean);
  if (want.length !== have.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, part] of want.entries()) {
    const given = have[index] ?? '';
    if (part.startsWith(':')) {
      try {
        params[part.slice(1)] = decodeURIComponent(given);
      } catch {
        return undefined; // A path that nobody wrote by hand.
      }
    } else if (part !== given) {
      return undefined;
    }
  }
  return { params };
}

class Router {
  path = $state(location.pathname);
  query = $state.raw(new URLSearchParams(location.search));
  /** Asked before the page is left: `false` keeps it. */
  #guards = new Set<() => boolean>();

  constructor() {
    addEventListener('popstate', () => this.#read());
    addEventListener('beforeunload', (event) => {
      if ([...this.#guards].some((mayLeave) => !mayLeave())) event.preventDefault();
    });
  }

  #read(): void {
    this.path = location.pathname;
    this.query = new URLSearchParams(location.search);
  }

  go(to: string, how: 'push' | 'replace' = 'push'): void {
    const url = new URL(to, location.origin);
    const stays = url.pathname === this.path;
    if (!stays && [...this.#guards].some((mayLeave) => !mayLeave()) && !confirm('Leave this page? What was changed on it is lost.')) return;
    if (how === 'push') history.pushState(null, '', url);
    else history.replaceState(null, '', url);
    this.#read();
    if (!stays) scrollTo(0, 0);
  }

  /** Changes parts of the query and nothing else: filters that can be sent as a link. */
  setQuery(changes: Record<string, string | undefined>): void {
    const query = new URLSearchParams(this.query);
    for (const [name, value] of Object.entries(changes)) {
      if (value === undefined || value === '') query.delete(name);
      else query.set(name, value);
    }
    const text = query.toString();
    this.go(text ? `${this.path}?${text}` : this.path, 'replace');
  }

  /** For a component with something unsaved. Returns how to take it back. */
  guard(mayLeave: () => boolean): () => void {
    this.#guards.add(mayLeave);
    return () => this.#guards.delete(mayLeave);
  }
}

export const router = new Router();

/** Follows links of the console without loading it again. On the document, so that a link is just `<a href>`. */
export function followLinks(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin || link.pathname.startsWith('/api/')) return;
  if (link.hash && link.pathname === location.pathname) return;
  event.preventDefault();
  router.go(link.pathname + link.search);
}
