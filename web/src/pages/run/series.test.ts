import { describe, expect, it } from 'vitest';

import { OK, Series, UNMEASURED, VIOLATED, reduce, strips, ticksOf } from './series';

function series(values: (number | null)[], state: (index: number) => number = () => OK): Series {
  const made = new Series();
  made.add({
    from: 0,
    at: values.map((_, index) => index * 1000),
    value: values,
    state: values.map((value, index) => (value === null ? UNMEASURED : state(index))),
  });
  return made;
}

describe('samples of a probe', () => {
  it('grow, and are not doubled when the same come again', () => {
    const one = new Series();
    one.add({ from: 0, at: [0, 10, 20], value: [1, 2, 3], state: [0, 0, 0] });
    one.add({ from: 2, at: [20, 30], value: [3, 4], state: [0, 0] });
    one.add({ from: 9, at: [90], value: [9], state: [0] });
    expect([one.length, [...one.value.slice(0, 4)]]).toEqual([4, [1, 2, 3, 4]]);
    for (let from = 4; from < 5000; from += 100)
      one.add({ from, at: Array(100).fill(from * 10), value: Array(100).fill(1), state: Array(100).fill(0) });
    expect(one.length).toBe(5004);
    expect([one.find(0), one.find(15), one.nearest(14), one.nearest(16)]).toEqual([0, 2, 1, 2]);
  });
});

describe('a chart of few pixels', () => {
  it('keeps the one violation among a hundred thousand samples', () => {
    const many = series(
      Array.from({ length: 100_000 }, (_, index) => (index === 54_321 ? 9 : 1)),
      (index) => (index === 54_321 ? VIOLATED : OK),
    );
    const drawn = reduce(many, 0, 100_000_000, 800);
    expect(drawn.x.length).toBeLessThanOrEqual(1602);
    expect(drawn.bad.map((index) => [drawn.x[index], drawn.y[index]])).toEqual([[54.321, 9]]);
    expect([drawn.min, drawn.max]).toEqual([1, 9]);
  });

  it('draws no line where nothing was measured, and says where that was', () => {
    const drawn = reduce(series([1, 2, null, null, 3, 4]), 0, 6000, 600);
    expect(drawn.y).toEqual([1, 2, null, 3, 4]);
    expect(drawn.gaps).toEqual([[0.002, 0.004]]);
  });

  it('of a part draws one sample beyond each edge, and times that never go back', () => {
    const drawn = reduce(series(Array.from({ length: 100 }, (_, index) => index)), 20_000, 30_000, 5);
    expect([drawn.x[0], drawn.x.at(-1)]).toEqual([0.019, 0.03]);
    expect(drawn.x).toEqual([...drawn.x].sort((a, b) => a - b));
  });
});

describe('texts', () => {
  it('become strips in which a short violation stays', () => {
    const one = new Series();
    const said = ['up', 'up', 'down', 'up'].map((text, index) => ({ index, text }));
    one.add({ from: 0, at: [0, 10, 20, 30], value: [null, null, null, null], state: [0, 0, 1, 0], said });
    expect(one.texts).toBe(true);
    expect(strips(one, 0, 40, 40).map(({ from, to, text, state }) => [from, to, text, state])).toEqual([
      [0, 20, 'up', 0],
      [20, 30, 'down', 1],
      [30, 31, 'up', 0],
    ]);
    expect(strips(one, 0, 4000, 40).some(({ state }) => state === 1)).toBe(true);
  });
});

describe('times on an axis', () => {
  it('are round, and not too many', () => {
    expect(ticksOf(3_400_000, 8)).toEqual([0, 500_000, 1_000_000, 1_500_000, 2_000_000, 2_500_000, 3_000_000]);
    expect(ticksOf(7200e6, 4).length).toBeLessThanOrEqual(5);
    expect(ticksOf(90 * 3600e6, 6).length).toBeLessThanOrEqual(7);
  });
});
