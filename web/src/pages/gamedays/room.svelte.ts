// A game day as everybody in it sees it: its timeline is followed, and each entry brings the rest up to date.

import { api } from '$/lib/client';
import { follow, type LiveState } from '$/lib/live';
import { asError, type ApiError } from '$/lib/problem';
import type { Entry, View } from './states';

export class Room {
  view = $state.raw<View | undefined>();
  entries = $state.raw<Entry[]>([]);
  error = $state.raw<ApiError | undefined>();
  live = $state<LiveState>('connecting');
  /** The server's clock before the browser's, in milliseconds: timers show the same to everybody. */
  ahead = $state(0);
  readonly id: string;
  #asked = 0;
  #shown = 0;

  constructor(id: string) {
    this.id = id;
  }

  /** What a change answered, or what was asked for. Answers that were overtaken by later ones are dropped. */
  show(view: View): void {
    if (this.view && view.version < this.view.version) return;
    this.view = view;
    this.ahead = new Date(view.now).getTime() - Date.now();
  }

  async load(): Promise<void> {
    const asked = ++this.#asked;
    try {
      const view = await api.get('/api/v1/gamedays/{id}', { path: { id: this.id } });
      if (asked < this.#shown) return;
      this.#shown = asked;
      this.show(view);
      this.error = undefined;
    } catch (thrown) {
      this.error = asError(thrown);
    }
  }

  /** Follows it until the returned function is called. */
  enter(): () => void {
    void this.load();
    return follow(`/api/v1/gamedays/${encodeURIComponent(this.id)}/events`, {
      onEvents: (events) => {
        const known = new Set(this.entries.map((entry) => entry.seq));
        const fresh = events.map((event) => JSON.parse(event.data) as Entry).filter((entry) => !known.has(entry.seq));
        if (fresh.length === 0) return;
        this.entries = [...this.entries, ...fresh].sort((a, b) => a.seq - b.seq);
        void this.load();
      },
      onState: (state) => {
        // Back after a break: what changed meanwhile without an entry is asked for, too.
        if (state === 'live' && this.live === 'waiting') void this.load();
        this.live = state;
      },
      isOver: () => this.view?.day.state === 'finished' || this.view?.day.state === 'cancelled',
    });
  }
}
