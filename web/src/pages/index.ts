// Every page of the console, each loaded when it is gone to. Adding one is one entry; `nav` puts it into the navigation.

import type { Component } from 'svelte';
import type { Role } from '$/lib/session.svelte';
import type { IconName } from '$/ui/icons';

/** What a page is given: the parameters of its path. */
export interface PageProps {
  params: Record<string, string>;
}

export type Group = 'Now' | 'Plan' | 'Learn' | 'Govern';

export interface PageEntry {
  /** Such as `/runs/:run`. */
  path: string;
  load: () => Promise<{ default: Component<PageProps> | Component<Record<string, never>> }>;
  nav?: {
    title: string;
    group: Group;
    icon: IconName;
    /** The second key after `g`. */
    key?: string;
    /** Who is shown it. */
    role?: Role;
  };
}

export const PAGES: PageEntry[] = [
  { path: '/', load: () => import('./overview/Overview.svelte'), nav: { title: 'Overview', group: 'Now', icon: 'overview', key: 'o' } },
  { path: '/runs', load: () => import('./runs/Runs.svelte'), nav: { title: 'Runs', group: 'Now', icon: 'run', key: 'r' } },
  { path: '/runs/:run', load: () => import('./run/Run.svelte') },
  { path: '/hosts', load: () => import('./hosts/Hosts.svelte'), nav: { title: 'Hosts', group: 'Now', icon: 'host', key: 'h' } },
  { path: '/hosts/:host', load: () => import('./hosts/Host.svelte') },
  { path: '/library', load: () => import('./library/Library.svelte'), nav: { title: 'Library', group: 'Plan', icon: 'library', key: 'l' } },
  { path: '/library/:name', load: () => import('./library/LibraryEntry.svelte') },
  { path: '/experiments', load: () => import('./experiments/Experiments.svelte'), nav: { title: 'Experiments', group: 'Plan', icon: 'experiment', key: 'e' } },
  { path: '/experiments/new', load: () => import('./experiments/Experiment.svelte') },
  { path: '/experiments/:name', load: () => import('./experiments/Experiment.svelte') },
];
