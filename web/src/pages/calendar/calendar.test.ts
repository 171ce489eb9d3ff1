import { describe, expect, test } from 'vitest';
import { addDays, coversDay, dayKey, dayOf, daysOf, hours, isOn, onDay, startOfWeek, step, type Entry } from './calendar';
import { nameOf } from './kinds';

const at = (text: string) => new Date(text).toISOString();
const entry = (start: string, end?: string): Entry => ({
  uid: start,
  kind: 'occurrence',
  start: at(start),
  title: start,
  ...(end ? { end: at(end) } : {}),
});
const day = (text: string) => dayOf(text, new Date());

describe('a calendar', () => {
  test('a month is whole weeks from Monday to Sunday around it', () => {
    for (let month = 0; month < 48; month++) {
      const days = daysOf('month', new Date(2024, month, 15));
      expect(days.length % 7).toBe(0);
      expect(days[0]?.getDay()).toBe(1);
      const inside = days.filter((one) => one.getMonth() === ((month % 12) + 12) % 12);
      expect(inside).toHaveLength(new Date(2024, month + 1, 0).getDate());
      expect(new Set(days.map(dayKey)).size).toBe(days.length);
    }
  });

  test('weeks begin on Monday and steps go from view to view', () => {
    expect(dayKey(startOfWeek(day('2026-11-22')))).toBe('2026-11-16');
    expect(dayKey(step('month', day('2026-01-31'), 1))).toBe('2026-02-01');
    expect(dayKey(step('week', day('2026-12-30'), 1))).toBe('2027-01-06');
    expect(dayKey(addDays(day('2026-03-28'), 2))).toBe('2026-03-30');
    expect(dayKey(dayOf('nonsense', new Date(2026, 10, 21, 12)))).toBe('2026-11-21');
  });

  test('an entry is on every day that it touches, and on no other', () => {
    const freeze = entry('2026-11-26T00:00', '2026-11-30T00:00');
    expect(['2026-11-25', '2026-11-26', '2026-11-29', '2026-11-30'].map((one) => isOn(freeze, day(one)))).toEqual([
      false,
      true,
      true,
      false,
    ]);
    expect(coversDay(freeze, day('2026-11-27'))).toBe(true);
    const moment = entry('2026-11-26T00:00');
    expect([isOn(moment, day('2026-11-25')), isOn(moment, day('2026-11-26'))]).toEqual([false, true]);
    expect(coversDay(moment, day('2026-11-26'))).toBe(false);
  });

  test('what lasts all day comes first, the rest by time', () => {
    const list = [entry('2026-11-26T15:00'), entry('2026-11-26T09:00'), entry('2026-11-26T00:00', '2026-11-27T00:00')];
    expect(onDay(list, day('2026-11-26')).map((one) => one.title)).toEqual(['2026-11-26T00:00', '2026-11-26T09:00', '2026-11-26T15:00']);
  });

  test('what overlaps stands side by side, and nothing hides anything', () => {
    const placed = hours(
      [entry('2026-11-26T09:00', '2026-11-26T15:00'), entry('2026-11-26T10:00'), entry('2026-11-26T10:10'), entry('2026-11-26T18:00')],
      day('2026-11-26'),
    );
    expect(placed.map((one) => [one.lane, one.lanes])).toEqual([
      [0, 3],
      [1, 3],
      [2, 3],
      [0, 1],
    ]);
    for (const a of placed) {
      for (const b of placed) {
        const apart = a === b || a.lane !== b.lane || a.top + a.height <= b.top || b.top + b.height <= a.top;
        expect(apart).toBe(true);
      }
      expect(a.top + a.height).toBeLessThanOrEqual(1.0000001);
    }
    expect(hours([entry('2026-11-26T23:59')], day('2026-11-26'))[0]?.top).toBeLessThan(0.98);
  });

  test('beside a picture of its kind an entry has its name alone', () => {
    const named = (title: string) => nameOf({ ...entry('2026-11-26T10:00'), title });
    expect(['nightly (schedule)', 'my-monkey (Chaos Monkey)', 'Rehearsal (game day)'].map(named)).toEqual([
      'nightly',
      'my-monkey',
      'Rehearsal',
    ]);
    expect(['Stop (game day) practice', 'Black Friday'].map(named)).toEqual(['Stop (game day) practice', 'Black Friday']);
  });
});
