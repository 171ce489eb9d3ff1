// Numbers and times for people. Everything here is pure, and tested in format.test.ts.

/** What a value is a quantity of, as the API names it. */
export type Dimension = 'number' | 'ratio' | 'time' | 'bytes' | 'rate' | 'text';

/** `1.5 s`, `230 ms`, `2 m 5 s`: of seconds. At most two units. */
export function seconds(value: number): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return '–';
  if (size === 0) return '0 s';
  if (size < 1e-3) return `${trim(value * 1e6)} µs`;
  if (size < 1) return `${trim(value * 1e3)} ms`;
  if (size < 60) return `${trim(value)} s`;
  const whole = Math.round(size);
  const sign = value < 0 ? '−' : '';
  const [d, h, m, s] = [Math.floor(whole / 86400), Math.floor((whole % 86400) / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const parts = [d && `${d} d`, h && `${h} h`, m && `${m} m`, s && `${s} s`].filter(Boolean);
  return sign + parts.slice(0, 2).join(' ');
}

/** Of microseconds, as journals have them. */
export function micros(value: number): string {
  return seconds(value / 1e6);
}

/** Of microseconds since a run's start: `+1:05.2`, `+0:03.21`. */
export function offset(value: number): string {
  const total = Math.max(0, value) / 1e6;
  const h = Math.floor(total / 3600);
  const m = Math.floor((total % 3600) / 60);
  const s = (total % 60).toFixed(total < 60 ? 2 : 1).padStart(total < 60 ? 5 : 4, '0');
  return h > 0 ? `+${h}:${String(m).padStart(2, '0')}:${s}` : `+${m}:${s}`;
}

/** Three significant digits, without zeros that say nothing. */
export function trim(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size >= 1e15 || (size > 0 && size < 1e-6)) return value.toExponential(2);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : Math.min(8, 2 - Math.floor(Math.log10(size || 1)));
  return Number(value.toFixed(digits)).toString().replace('-', '−');
}

export function bytes(value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let unit = 0;
  let rest = Math.abs(value);
  while (rest >= 1024 && unit < units.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  return `${value < 0 ? '−' : ''}${trim(rest)} ${units[unit]}`;
}

/** A value in its dimension's base unit. */
export function measured(value: number, dimension: string): string {
  switch (dimension) {
    case 'time':
      return seconds(value);
    case 'bytes':
      return bytes(value);
    case 'ratio':
      return `${trim(value * 100)} %`;
    case 'rate':
      return `${trim(value)}/s`;
    default:
      return trim(value);
  }
}

/** `in 5 m`, `3 h ago`, `now`. */
export function relative(time: string | number | Date, now: number): string {
  const away = (new Date(time).getTime() - now) / 1000;
  if (Number.isNaN(away)) return '–';
  const size = Math.abs(away);
  if (size < 5) return 'now';
  const [count, unit] =
    size < 60 ? [size, 's'] : size < 3600 ? [size / 60, 'min'] : size < 86400 * 2 ? [size / 3600, 'h'] : [size / 86400, 'd'];
  const text = `${Math.floor(count)} ${unit}`;
  return away > 0 ? `in ${text}` : `${text} ago`;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const date = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
const both = new Intl.DateTimeFormat(undefined, {
  day: 'numeric',
  month: 'short',
  year: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  hourCycle: 'h23',
});

export function time(value: string | number | Date): string {
  return valid(value, clock);
}
export function day(value: string | number | Date): string {
  return valid(value, date);
}
export function dateTime(value: string | number | Date): string {
  return valid(value, both);
}

function valid(value: string | number | Date, format: Intl.DateTimeFormat): string {
  const at = new Date(value);
  return Number.isNaN(at.getTime()) ? '–' : format.format(at);
}

/** `1 host`, `3 hosts`. */
export function count(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}
