// What a page shows of the server: loaded once, or asked for again and again while somebody looks.

import { asError, type ApiError } from './problem';

export class Loaded<T> {
  value = $state.raw<T | undefined>(undefined);
  error = $state.raw<ApiError | undefined>(undefined);
  loading = $state(true);
  #load: (signal: AbortSignal) => Promise<T>;
  #abort: AbortController | undefined;
  #text = '';

  constructor(load: (signal: AbortSignal) => Promise<T>) {
    this.#load = load;
  }

  /** Asks now. What was shown stays until the answer is here; a request that is on its way is dropped. */
  async reload(): Promise<void> {
    this.#abort?.abort();
    const abort = new AbortController();
    this.#abort = abort;
    this.loading = true;
    try {
      const value = await this.#load(abort.signal);
      if (abort.signal.aborted) return;
      // The same again changes nothing on the page.
      const text = JSON.stringify(value) ?? '';
      if (text !== this.#text || this.value === undefined) {
        this.#text = text;
        this.value = value;
      }
      this.error = undefined;
    } catch (thrown) {
      if (abort.signal.aborted) return;
      this.error = asError(thrown);
    }
    this.loading = false;
  }

  stop(): void {
    this.#abort?.abort();
  }
}

/** For a component: loads when it appears, and anew when what `load` reads before its first `await` changes. */
export function loaded<T>(load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const state = new Loaded(load);
  $effect(() => {
    void state.reload();
    return () => state.stop();
  });
  return state;
}

/** As `loaded`, and every `every` milliseconds while the page is seen. */
export function polled<T>(load: (signal: AbortSignal) => Promise<T>, every: number): Loaded<T> {
  const state = new Loaded(load);
  $effect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let over = false;
    async function tick(): Promise<void> {
      await state.reload();
      if (!over) timer = setTimeout(() => void tick(), document.hidden ? every * 10 : every);
    }
    function seen(): void {
      if (document.hidden) return;
      clearTimeout(timer);
      void tick();
    }
    void tick();
    document.addEventListener('visibilitychange', seen);
    return () => {
      over = true;
      clearTimeout(timer);
      state.stop();
      document.removeEventListener('visibilitychange', seen);
    };
  });
  return state;
}
