// Where entries stand on a calendar. Pure: days are local midnights, weeks begin on Monday.

/** The answer of `GET /calendar`. */
export interface Listing {
  entries: Entry[];
  /** Schedules with more times than are listed. */
  cut: string[];
}

export interface Entry {
  uid: string;
  kind: 'occurrence' | 'monkeyHours' | 'freeze' | 'gameDay';
  start: string;
  end?: string | null;
  title: string;
  detail?: string;
  skipped?: string | null;
}

export type View = 'month' | 'week' | 'agenda';

const DAY = 24 * 3600 * 1000;

export function startOfDay(at: Date): Date {
  return new Date(at.getFullYear(), at.getMonth(), at.getDate());
}

/** So many days on. A day may have 23 or 25 hours, so it is no sum of milliseconds. */
export function addDays(at: Date, days: number): Date {
  return new Date(at.getFullYear(), at.getMonth(), at.getDate() + days);
}

export function startOfWeek(at: Date): Date {
  return addDays(at, -((at.getDay() + 6) % 7));
}

/** `2026-11-21`, local. */
export function dayKey(at: Date): string {
  const two = (n: number) => String(n).padStart(2, '0');
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** The inverse of `dayKey`; today where it is none. */
export function dayOf(key: string | null | undefined, today: Date): Date {
  const found = /^(\d{4})-(\d{2})-(\d{2})$/.exec(key ?? '');
  return found ? new Date(Number(found[1]), Number(found[2]) - 1, Number(found[3])) : startOfDay(today);
}

/** The days that a view shows. */
export function daysOf(view: View, at: Date): Date[] {
  if (view === 'week') return run(startOfWeek(at), 7);
  if (view === 'agenda') return run(startOfDay(at), 31);
  const first = startOfWeek(new Date(at.getFullYear(), at.getMonth(), 1));
  const last = new Date(at.getFullYear(), at.getMonth() + 1, 0);
  const weeks = Math.ceil((Math.round((last.getTime() - first.getTime()) / DAY) + 1) / 7);
  return run(first, weeks * 7);
}

function run(first: Date, count: number): Date[] {
  return Array.from({ length: count }, (_, i) => addDays(first, i));
}

/** The view before or after. */
export function step(view: View, at: Date, by: 1 | -1): Date {
  return view === 'month' ? new Date(at.getFullYear(), at.getMonth() + by, 1) : addDays(at, by * (view === 'week' ? 7 : 31));
}

/** Whether an entry is on a day. One without a length is a moment. */
export function isOn(entry: Entry, day: Date): boolean {
  const [start, next] = [new Date(entry.start).getTime(), addDays(day, 1).getTime()];
  const end = entry.end ? new Date(entry.end).getTime() : start + 1;
  return start < next && end > day.getTime();
}

/** Whether it covers the whole of a day: it stands above its hours. */
export function coversDay(entry: Entry, day: Date): boolean {
  return !!entry.end && new Date(entry.start).getTime() <= day.getTime() && new Date(entry.end).getTime() >= addDays(day, 1).getTime();
}

/** Entries of a day in order: what lasts all day first. */
export function onDay(entries: readonly Entry[], day: Date): Entry[] {
  const found = entries.filter((entry) => isOn(entry, day));
  return found.sort((a, b) => Number(coversDay(b, day)) - Number(coversDay(a, day)) || a.start.localeCompare(b.start));
}

/** Where an entry stands in a day's column. */
export interface Placed {
  entry: Entry;
  /** From the top, as a share of the day. */
  top: number;
  height: number;
  /** Those that overlap share the width. */
  lane: number;
  lanes: number;
}

/** A moment takes as much room as half an hour, or nobody could read it. */
const LEAST = 0.5 / 24;

/** The hours of a day: what overlaps stands side by side. */
export function hours(entries: readonly Entry[], day: Date): Placed[] {
  const [from, to] = [day.getTime(), addDays(day, 1).getTime()];
  const share = (at: number) => Math.min(1, Math.max(0, (at - from) / (to - from)));
  const placed = onDay(entries, day)
    .filter((entry) => !coversDay(entry, day))
    .map((entry): Placed => {
      const start = new Date(entry.start).getTime();
      const top = Math.min(share(start), 1 - LEAST);
      const end = entry.end ? share(new Date(entry.end).getTime()) : top;
      return { entry, top, height: Math.max(LEAST, end - top), lane: 0, lanes: 1 };
    })
    .sort((a, b) => a.top - b.top);
  let group: Placed[] = [];
  let until = 0;
  const close = () => {
    const lanes = Math.max(0, ...group.map((one) => one.lane + 1));
    for (const one of group) one.lanes = lanes;
    group = [];
  };
  for (const one of placed) {
    if (one.top >= until) close();
    const taken = new Set(group.filter((other) => other.top + other.height > one.top).map((other) => other.lane));
    while (taken.has(one.lane)) one.lane++;
    group.push(one);
    until = Math.max(until, one.top + one.height);
  }
  close();
  return placed;
}
