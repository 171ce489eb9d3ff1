import { describe, expect, it } from 'vitest';

import { bytes, count, measured, offset, relative, seconds } from './format';

describe('times and sizes for people', () => {
  it('gives a duration its largest two units', () => {
    const said = [0, 0.00025, 0.23, 1.5, 59.94, 65, 3600, 3725, 90061].map(seconds);
    expect(said).toEqual(['0 s', '250 µs', '230 ms', '1.5 s', '59.9 s', '1 m 5 s', '1 h', '1 h 2 m', '1 d 1 h']);
  });

  it('says what is not a number as a dash', () => {
    expect([seconds(Number.NaN), measured(Number.POSITIVE_INFINITY, 'number')]).toEqual(['–', '–']);
  });

  it('counts from the start of a run', () => {
    expect([0, 3_210_000, 65_200_000, 3_725_000_000].map(offset)).toEqual(['+0:00.00', '+0:03.21', '+1:05.2', '+1:02:05.0']);
  });

  it('knows the units of dimensions', () => {
    const said = [measured(0.25, 'time'), measured(1536, 'bytes'), measured(0.995, 'ratio'), measured(12, 'rate')];
    expect(said).toEqual(['250 ms', '1.5 KiB', '99.5 %', '12/s']);
    expect(bytes(3 * 1024 ** 3)).toBe('3 GiB');
  });

  it('says how long ago and how soon', () => {
    const now = Date.parse('2026-03-01T12:00:00Z');
    const at = ['2026-03-01T12:00:02Z', '2026-03-01T11:58:30Z', '2026-03-01T15:00:00Z', '2026-02-20T12:00:00Z', 'nonsense'];
    expect(at.map((time) => relative(time, now))).toEqual(['now', '1 min ago', 'in 3 h', '9 d ago', '–']);
  });

  it('counts in one and in many', () => {
    expect([count(1, 'host'), count(0, 'host'), count(2, 'policy', 'policies')]).toEqual(['1 host', '0 hosts', '2 policies']);
  });
});
