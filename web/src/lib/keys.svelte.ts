// Keys: `g r` goes to the runs, `/` to the search of the page, `?` shows them all. A page adds its own with `keys()`.

import { untrack } from 'svelte';

export interface Key {
  /** `r`, `/`, or two after each other: `g r`. */
  keys: string;
  what: string;
  run: () => void;
}

class Keys {
  list = $state.raw<Key[]>([]);
  #first = '';
  #since = 0;

  add(keys: Key[]): () => void {
    this.list = [...this.list, ...keys];
    return () => (this.list = this.list.filter((key) => !keys.includes(key)));
  }

  handle(event: KeyboardEvent): void {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    // Inside a shadow root, as an editor is, the target is only the host.
    const at = event.composedPath()[0];
    const writes = at instanceof HTMLElement && (at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName));
    if (writes || document.querySelector('dialog[open]')) return;
    const pair = event.timeStamp - this.#since < 1500 ? `${this.#first} ${event.key}` : '';
    const found = this.list.findLast((key) => key.keys === pair) ?? this.list.findLast((key) => key.keys === event.key);
    this.#first = event.key;
    this.#since = event.timeStamp;
    if (!found) return;
    this.#first = '';
    event.preventDefault();
    found.run();
  }
}

export const keys = new Keys();

/** For a component: these keys while it is there. */
export function useKeys(list: () => Key[]): void {
  $effect(() => {
    const own = list();
    // The list that they are added to is read for that: not a reason to add them again.
    return untrack(() => keys.add(own));
  });
}
