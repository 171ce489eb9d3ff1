// Dark or light: what the system says, unless somebody chose.

export type Theme = 'system' | 'light' | 'dark';

const KEY = 'squall.theme';
const system = window.matchMedia('(prefers-color-scheme: dark)');

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === 'light' || value === 'dark' ? value : 'system';
  } catch {
    return 'system'; // Storage is forbidden: nothing is lost but the choice.
  }
}

class ThemeState {
  choice = $state<Theme>(stored());
  #systemDark = $state(system.matches);
  dark = $derived(this.choice === 'dark' || (this.choice === 'system' && this.#systemDark));

  constructor() {
    system.addEventListener('change', (event) => {
      this.#systemDark = event.matches;
      this.apply();
    });
  }

  choose(choice: Theme): void {
    this.choice = choice;
    try {
      if (choice === 'system') localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, choice);
    } catch {
      // As above.
    }
    this.apply();
  }

  apply(): void {
    document.documentElement.dataset['theme'] = this.dark ? 'dark' : 'light';
  }
}

export const theme = new ThemeState();

export function startTheme(): void {
  theme.apply();
}
