import { describe, expect, it } from 'vitest';

import { lines, points } from './compared';

const turn = (second: number, experiment?: [number, number, number?], control?: [number, number, number?]) => {
  const arm = (side?: [number, number, number?]) =>
    side ? { answers: side[0], bad: side[1], ...(side[2] === undefined ? {} : { median: side[2] }) } : undefined;
  const sides = { experiment: arm(experiment), control: arm(control) };
  return { at: second * 1e6, ...JSON.parse(JSON.stringify(sides)) } as Parameters<typeof lines>[0][number];
};

describe('lines', () => {
  const turns = [
    turn(1, [2, 0, 0.1], [2, 0, 0.1]),
    turn(2, [2, 1, 0.4], [2, 0, 0.1]),
    turn(3, [2, 2], [2, 1, 0.2]),
    turn(4, undefined, [2, 0, 0.1]),
  ];

  it('has the share of bad answers of both sides', () => {
    const drawn = lines(turns, 'share', 0, 10e6);
    expect(drawn.x).toEqual([1, 2, 3, 4]);
    expect(drawn.y).toEqual([0, 0, 0.5, 0]);
    expect(drawn.others).toEqual([[0, 0.5, 1, null]]);
    expect([drawn.min, drawn.max]).toEqual([0, 1]);
  });

  it('breaks a line where no answer was a number', () => {
    const drawn = lines(turns, 'median', 0, 10e6);
    expect(drawn.others).toEqual([[0.1, 0.4, null, null]]);
    expect([drawn.min, drawn.max]).toEqual([0.1, 0.4]);
  });

  it('keeps one turn beyond each edge of the part', () => {
    expect(lines(turns, 'share', 2e6, 3e6).x).toEqual([1, 2, 3, 4]);
    expect(lines(turns, 'share', 2.5e6, 2.6e6).x).toEqual([2, 3]);
    expect(lines([], 'share', 0, 1).x).toEqual([]);
  });
});

describe('points', () => {
  it('is told outwards to the whole point', () => {
    expect(points([0.591, 0.993])).toBe('+59 to +100 points');
    expect(points([-0.101, 0])).toBe('−11 to 0 points');
  });
});
