// What became of a time of a schedule, or of a kill of a monkey.

import type { components } from '$/api/schema';
import type { Shown } from '$/ui/states';

type FiringState = components['schemas']['FiringState'];

const STATES: Record<FiringState, Shown> = {
  waiting: { tone: 'live', icon: 'timer', text: 'waiting', title: 'It is about to start.' },
  started: { tone: 'good', icon: 'run', text: 'started', title: 'Its run has begun.' },
  refused: { tone: 'bad', icon: 'cross', text: 'refused', title: 'Something stood against it, such as a policy.' },
  skipped: { tone: 'idle', icon: 'dash', text: 'skipped', title: 'It was not to run, by the rules of its schedule.' },
  missed: { tone: 'warn', icon: 'warn', text: 'missed', title: 'Nobody was there to start it in time.' },
  leashed: { tone: 'info', icon: 'eye', text: 'on the leash', title: 'It was decided as if, and nothing was done.' },
};

export function firingShown(state: FiringState): Shown {
  return STATES[state];
}
