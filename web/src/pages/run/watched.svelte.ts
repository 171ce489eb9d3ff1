// A run that is watched: its view as it stands, and its samples. Cut off, it goes on where it was.

import type { components } from '$/api/schema';
import { follow, type LiveState } from '$/lib/live';
import { now } from '$/lib/now.svelte';
import { asError, type ApiError } from '$/lib/problem';
import { soon } from './painter';
import { Series } from './series';

export type RunView = components['schemas']['RunView'];
export type Report = components['schemas']['RunReport'];
export type ProbeReport = components['schemas']['RunProbe'];
export type Comparison = components['schemas']['RunComparison'];
export type Injection = components['schemas']['RunInjection'];
type Samples = components['schemas']['RunSamples'];

export class Watched {
  view = $state.raw<RunView | undefined>(undefined);
  connection = $state<LiveState>('connecting');
  error = $state.raw<ApiError | undefined>(undefined);
  /** One for each probe. Not reactive: `drawn` says that there are new ones. */
  series: Series[] = [];
  /** Grows with every part of samples. */
  drawn = $state(0);
  /** When the view came: a run goes on while nothing happens in it. */
  #seen = $state(0);

  constructor(readonly run: string) {}

  get over(): boolean {
    return Boolean(this.view?.report.verdict);
  }

  /** Until the returned function is called. */
  watch(): () => void {
    return follow(`/api/v1/runs/${encodeURIComponent(this.run)}/live`, {
      onEvents: (events) => {
        // Of several views that came together, the last is how it stands.
        const view = events.findLast((event) => event.event === 'view');
        try {
          if (view) this.#see(JSON.parse(view.data) as RunView);
          // A long run comes in many parts: each is taken when there is time for it, in order.
          for (const event of events) if (event.event === 'samples') soon(() => this.#add(JSON.parse(event.data) as Samples));
        } catch (thrown) {
          this.error = asError(thrown);
        }
      },
      onState: (state, error) => {
        this.connection = state;
        if (state === 'refused') this.error = error;
      },
      isOver: () => this.over,
    });
  }

  #see(view: RunView): void {
    while (this.series.length < view.report.probes.length) this.series.push(new Series());
    this.view = view;
    this.#seen = Date.now();
  }

  #add(samples: Samples): void {
    for (const columns of samples.probes) this.series[columns.probe]?.add(columns);
    this.drawn += 1;
  }

  /** The last moment that is known of, in microseconds; of a run that is followed, now. */
  get end(): number {
    void this.drawn;
    const known = Math.max(this.view?.report.facts.duration ?? 0, ...this.series.map((one) => one.at[one.length - 1] ?? 0));
    if (this.over || this.connection !== 'live') return known;
    return Math.max(known, (this.view?.report.facts.duration ?? 0) + Math.max(0, now.ms - this.#seen) * 1000);
  }
}

/** What of the time all charts of a run show. */
export class Zoom {
  /** Microseconds; `undefined` is the whole run. */
  part = $state.raw<{ from: number; to: number } | undefined>(undefined);

  set(from: number, to: number, end: number): void {
    const width = Math.max(to - from, 1000);
    const start = Math.max(0, Math.min(from, end - width));
    this.part = width >= end ? undefined : { from: start, to: start + width };
  }

  /** Around a place (0 to 1) of what is seen. */
  scale(factor: number, end: number, place = 0.5): void {
    const { from, to } = this.part ?? { from: 0, to: end };
    const width = (to - from) * factor;
    const middle = from + (to - from) * place;
    this.set(middle - width * place, middle + width * (1 - place), end);
  }

  move(share: number, end: number): void {
    if (!this.part) return;
    const step = (this.part.to - this.part.from) * share;
    this.set(this.part.from + step, this.part.to + step, end);
  }
}
