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
  {
    path: '/experiments',
    load: () => import('./experiments/Experiments.svelte'),
    nav: { title: 'Experiments', group: 'Plan', icon: 'experiment', key: 'e' },
  },
  { path: '/experiments/new', load: () => import('./experiments/Experiment.svelte') },
  { path: '/experiments/:name', load: () => import('./experiments/Experiment.svelte') },
  {
    path: '/schedules',
    load: () => import('./schedules/Schedules.svelte'),
    nav: { title: 'Schedules', group: 'Plan', icon: 'schedule', key: 's' },
  },
  { path: '/schedules/new', load: () => import('./schedules/Schedule.svelte') },
  { path: '/schedules/:name', load: () => import('./schedules/Schedule.svelte') },
  {
    path: '/monkeys',
    load: () => import('./monkeys/Monkeys.svelte'),
    nav: { title: 'Chaos Monkeys', group: 'Plan', icon: 'monkey', key: 'm' },
  },
  { path: '/monkeys/new', load: () => import('./monkeys/Monkey.svelte') },
  { path: '/monkeys/:name', load: () => import('./monkeys/Monkey.svelte') },
  {
    path: '/calendar',
    load: () => import('./calendar/Calendar.svelte'),
    nav: { title: 'Calendar', group: 'Plan', icon: 'calendar', key: 'c' },
  },
  {
    path: '/gamedays',
    load: () => import('./gamedays/GameDays.svelte'),
    nav: { title: 'Game days', group: 'Learn', icon: 'gameday', key: 'd' },
  },
  { path: '/gamedays/new', load: () => import('./gamedays/Plan.svelte') },
  { path: '/gamedays/:id', load: () => import('./gamedays/GameDay.svelte') },
  { path: '/gamedays/:id/plan', load: () => import('./gamedays/Plan.svelte') },
  {
    path: '/findings',
    load: () => import('./findings/Findings.svelte'),
    nav: { title: 'Findings', group: 'Learn', icon: 'finding', key: 'f' },
  },
  { path: '/findings/:id', load: () => import('./findings/Finding.svelte') },
  {
    path: '/approvals',
    load: () => import('./approvals/Approvals.svelte'),
    nav: { title: 'Approvals', group: 'Govern', icon: 'approval', key: 'y' },
  },
  {
    path: '/channels',
    load: () => import('./channels/Channels.svelte'),
    nav: { title: 'Notifications', group: 'Govern', icon: 'bell', key: 'n', role: 'operator' },
  },
  { path: '/channels/new', load: () => import('./channels/Channel.svelte') },
  { path: '/channels/:name', load: () => import('./channels/Channel.svelte') },
  {
    path: '/policies',
    load: () => import('./policies/Policies.svelte'),
    nav: { title: 'Policies', group: 'Govern', icon: 'policy', key: 'p' },
  },
  { path: '/policies/new', load: () => import('./policies/Policy.svelte') },
  { path: '/policies/:name', load: () => import('./policies/Policy.svelte') },
  {
    path: '/audit',
    load: () => import('./audit/Audit.svelte'),
    nav: { title: 'Audit', group: 'Govern', icon: 'audit', key: 'a', role: 'admin' },
  },
  {
    path: '/users',
    load: () => import('./users/Users.svelte'),
    nav: { title: 'Users', group: 'Govern', icon: 'user', key: 'u', role: 'admin' },
  },
  { path: '/tokens', load: () => import('./tokens/Tokens.svelte'), nav: { title: 'API tokens', group: 'Govern', icon: 'token', key: 't' } },
  { path: '/reference/api', load: () => import('./api/Api.svelte'), nav: { title: 'API', group: 'Govern', icon: 'code', key: 'i' } },
  { path: '/account', load: () => import('./account/Account.svelte') },
];
