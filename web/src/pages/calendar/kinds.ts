// How entries are shown: a tone, a picture, a word, and where they lead.

import type { Shown } from '$/ui/states';
import type { Entry } from './calendar';

const KINDS: Record<Entry['kind'], Shown> = {
  occurrence: { tone: 'live', icon: 'schedule', text: 'schedule' },
  monkeyHours: { tone: 'fault', icon: 'monkey', text: 'monkey hours' },
  freeze: { tone: 'info', icon: 'stop', text: 'frozen' },
  gameDay: { tone: 'warn', icon: 'gameday', text: 'game day' },
};

export function kindShown(entry: Entry): Shown {
  const shown = KINDS[entry.kind];
  return entry.skipped ? { ...shown, tone: 'idle', icon: 'dash', text: `${shown.text}, skipped` } : shown;
}

/** Its name alone, where a picture or a badge beside it says of which kind it is. */
export function nameOf(entry: Entry): string {
  return entry.title.replace(/ \((?:schedule|Chaos Monkey|game day)\)$/, '');
}

/** The page of what an entry is of. Their ids begin with its name. */
export function hrefOf(entry: Entry): string {
  const name = encodeURIComponent(
    entry.kind === 'occurrence'
      ? entry.uid.replace(/-\d{8}t\d{6}z$/i, '')
      : entry.kind === 'monkeyHours'
        ? entry.uid.replace(/-\d{8}$/, '')
        : '',
  );
  if (entry.kind === 'occurrence') return `/schedules/${name}`;
  if (entry.kind === 'monkeyHours') return `/monkeys/${name}`;
  return entry.kind === 'gameDay' ? `/gamedays/${encodeURIComponent(entry.uid)}` : '/policies';
}
