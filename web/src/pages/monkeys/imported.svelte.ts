// What an import came to, on its way from the dialog to the editor. In memory: it is saved when somebody saves it.

class Imported {
  monkey = $state.raw<string | undefined>();

  /** Gives it once. */
  take(): string | undefined {
    const text = this.monkey;
    this.monkey = undefined;
    return text;
  }
}

export const imported = new Imported();
