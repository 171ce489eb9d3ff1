import { expect, test } from 'vitest';
import { clock, current, measure, span, words, type Scenario } from './states';

test('times are read and written as Squall has them', () => {
  expect([span('5m'), span('1h 30m'), span('90s'), span('250ms'), span('2d'), span(''), span(null)]).toEqual([
    300_000,
    5_400_000,
    90_000,
    250,
    172_800_000,
    undefined,
    undefined,
  ]);
  expect([clock(0), clock(7_900), clock(723_000), clock(3_723_000), clock(-5)]).toEqual(['0:00', '0:07', '12:03', '1:02:03', '0:00']);
});

test('a time counts from when the fault was in force, and stops with its mark', () => {
  const at = Date.parse('2026-11-21T10:00:00Z');
  const running: Scenario = { state: 'running', faultAt: '2026-11-21T10:00:00Z' };
  expect(measure({ state: 'running' }, 'detected', '5m', at)).toBeUndefined();
  expect(measure(running, 'detected', '5m', at + 60_000)).toEqual({ ms: 60_000, over: false, done: false, objective: 300_000 });
  expect(measure(running, 'detected', '5m', at + 301_000)?.over).toBe(true);
  const marked: Scenario = { ...running, detected: { at: '2026-11-21T10:02:00Z', by: 'ada' } };
  expect(measure(marked, 'detected', '5m', at + 900_000)).toEqual({ ms: 120_000, over: false, done: true, objective: 300_000 });
  expect(measure(marked, 'resolved', undefined, at + 900_000)?.over).toBe(false);
});

test('marks are about what runs, or else about the last that is not resolved', () => {
  const mark = { at: '2026-11-21T10:02:00Z', by: 'ada' };
  expect(current([{ state: 'done', resolved: mark }, { state: 'running' }, { state: 'waiting' }])).toBe(1);
  expect(current([{ state: 'done' }, { state: 'done', resolved: mark }, { state: 'waiting' }])).toBe(0);
  expect(current([{ state: 'done', resolved: mark }, { state: 'waiting' }])).toBe(-1);
});

test('every entry of a timeline is told in words', () => {
  const plan = [{ title: 'Payments is slow', experiment: { saved: 'x' } }];
  const entry = { seq: 1, at: '2026-11-21T10:00:00Z', by: 'ada' };
  expect(words({ ...entry, what: { marked: { scenario: 0, mark: 'detected' } } }, plan)).toEqual({
    text: 'Detected: Payments is slow',
    kind: 'mark',
  });
  expect(words({ ...entry, what: { note: { text: 'hm' } } }, plan).text).toBe('hm');
  expect(words({ ...entry, what: { note: { scenario: 0, text: 'hm' } } }, plan).text).toBe('Payments is slow: hm');
  expect(words({ ...entry, what: { scenarioStarted: { scenario: 7, run: 'r' } } }, plan).text).toBe('Started: scenario 8');
});
