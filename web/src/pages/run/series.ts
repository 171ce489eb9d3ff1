// The samples of one probe in growing columns, and what of them a chart of so many pixels can show. Pure, and tested in series.test.ts.

export const OK = 0;
export const VIOLATED = 1;
export const UNMEASURED = 2;

export interface NewSamples {
  from: number;
  at: number[];
  value: (number | null | undefined)[];
  state: number[];
  said?: { index: number; text: string }[];
}

export class Series {
  length = 0;
  /** Microseconds since the run's start. */
  at = new Float64Array(256);
  /** NaN where there is no number. */
  value = new Float64Array(256);
  state = new Uint8Array(256);
  /** Answers that are texts, and why something could not be measured, by sample. */
  said = new Map<number, string>();
  /** Some answer is a text. */
  texts = false;

  /** Adds samples. What is known already is left as it is: after a cut, the same may come twice. */
  add(samples: NewSamples): void {
    const known = this.length - samples.from;
    if (known < 0) return; // A hole: the stream will begin anew.
    this.#grow(samples.from + samples.at.length);
    for (let index = known; index < samples.at.length; index++) {
      this.at[this.length] = samples.at[index] ?? 0;
      this.value[this.length] = samples.value[index] ?? Number.NaN;
      this.state[this.length] = samples.state[index] ?? UNMEASURED;
      this.length += 1;
    }
    for (const { index, text } of samples.said ?? []) {
      this.said.set(samples.from + index, text);
      if (samples.state[index] !== UNMEASURED) this.texts = true;
    }
  }

  #grow(wanted: number): void {
    if (wanted <= this.at.length) return;
    const size = Math.max(wanted, this.at.length * 2);
    const [at, value, state] = [new Float64Array(size), new Float64Array(size), new Uint8Array(size)];
    at.set(this.at);
    value.set(this.value);
    state.set(this.state);
    [this.at, this.value, this.state] = [at, value, state];
  }

  /** The first sample at or after a time. */
  find(at: number): number {
    let [low, high] = [0, this.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.at[middle] ?? 0) < at) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The sample nearest to a time. */
  nearest(at: number): number {
    const after = this.find(at);
    if (after === 0) return 0;
    if (after === this.length) return this.length - 1;
    return at - (this.at[after - 1] ?? 0) <= (this.at[after] ?? 0) - at ? after - 1 : after;
  }
}

export interface Drawn {
  /** Times in seconds, and values; null where the line is broken. */
  x: number[];
  y: (number | null)[];
  /** Further lines at the same times. */
  others?: (number | null)[][];
  /** Violations, at most two a pixel: indices into `x`. */
  bad: number[];
  /** Times in which it could not be measured, in seconds. */
  gaps: [number, number][];
  min: number;
  max: number;
}

/**
 * The smallest and the largest value of every pixel, as they came: no peak is lost, and nothing is drawn that was not measured. One sample
 * beyond each edge is kept, so that the line goes on to it.
 */
export function reduce(series: Series, from: number, to: number, pixels: number): Drawn {
  const drawn: Drawn = { x: [], y: [], bad: [], gaps: [], min: Infinity, max: -Infinity };
  const first = Math.max(0, series.find(from) - 1);
  const end = Math.min(series.length, series.find(to) + 1);
  const width = Math.max(1, (to - from) / Math.max(1, pixels));
  let column = -Infinity;
  let low = -1;
  let high = -1;
  let gap: [number, number] | undefined;

  const put = (index: number): void => {
    const value = series.value[index] ?? 0;
    if (series.state[index] === VIOLATED) drawn.bad.push(drawn.x.length);
    drawn.x.push((series.at[index] ?? 0) / 1e6);
    drawn.y.push(value);
    drawn.min = Math.min(drawn.min, value);
    drawn.max = Math.max(drawn.max, value);
  };
  const flush = (): void => {
    if (low >= 0) {
      put(Math.min(low, high));
      if (low !== high) put(Math.max(low, high));
    }
    low = high = -1;
  };
  // A violation must stay visible even where a better value of its pixel is larger or smaller.
  const worse = (index: number, than: number): boolean => series.state[index] === VIOLATED && series.state[than] !== VIOLATED;

  for (let index = first; index < end; index++) {
    const at = series.at[index] ?? 0;
    const value = series.value[index] ?? Number.NaN;
    if (Number.isNaN(value)) {
      flush();
      column = -Infinity;
      if (series.state[index] === UNMEASURED) {
        if (gap) gap[1] = at / 1e6;
        else {
          gap = [at / 1e6, at / 1e6];
          drawn.gaps.push(gap);
        }
        if (drawn.y.length > 0 && drawn.y.at(-1) !== null) {
          drawn.x.push(at / 1e6);
          drawn.y.push(null);
        }
      }
      continue;
    }
    if (gap) gap[1] = at / 1e6;
    gap = undefined;
    const place = Math.floor((at - from) / width);
    if (place !== column || low < 0) {
      flush();
      column = place;
      low = high = index;
      continue;
    }
    if (value < (series.value[low] ?? 0) || (low !== high && worse(index, low) && value <= (series.value[high] ?? 0))) low = index;
    if (value > (series.value[high] ?? 0) || (low !== high && worse(index, high) && value >= (series.value[low] ?? 0))) high = index;
  }
  flush();
  return drawn;
}

export interface Strip {
  from: number;
  to: number;
  text: string;
  state: number;
}

/** Times in which a probe that answers with a text said the same; what is narrower than a pixel joins its neighbour. */
export function strips(series: Series, from: number, to: number, pixels: number): Strip[] {
  const found: Strip[] = [];
  const least = (to - from) / Math.max(1, pixels);
  const end = Math.min(series.length, series.find(to));
  for (let index = Math.max(0, series.find(from) - 1); index < end; index++) {
    const at = series.at[index] ?? 0;
    const state = series.state[index] ?? UNMEASURED;
    const value = series.value[index] ?? Number.NaN;
    const text = series.said.get(index) ?? (Number.isNaN(value) ? '' : String(value));
    const last = found.at(-1);
    if (last) {
      last.to = at;
      if (last.text === text && last.state === state) continue;
      if (at - last.from < least) {
        last.text = 'several answers';
        last.state = Math.max(last.state, state);
        continue;
      }
    }
    found.push({ from: at, to: at, text, state });
  }
  const last = found.at(-1);
  if (last) last.to = Math.max(last.to, Math.min(to, last.from + least));
  return found;
}

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 10e3, 15e3, 30e3, 60e3, 120e3, 300e3, 600e3, 900e3, 1800e3, 3600e3];

/** Round times from 0 to `end`, in microseconds, about as many as wanted. */
export function ticksOf(end: number, wanted: number): number[] {
  const step = (STEPS.find((one) => end / (one * 1000) <= wanted) ?? Math.ceil(end / wanted / 3600e6) * 3600e3) * 1000;
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, index) => index * step);
}
