/** Files that programs leave beside a source file while somebody works on it. They are nobody's source. */

const EDITOR_FILES: readonly RegExp[] = [
  // Backups of many editors; swap files of vim, and how it tries out whether it may write.
  /~$/,
  /\.swp$/,
  /^\..*\.sw[a-px]$/,
  /^4913$/,
  // Emacs: locks, which are links to nowhere, and what was not saved yet.
  /^\.#/,
  /^#.*#$/,
  // JetBrains, `sed -i`, GTK, Kate: the new text, until it gets the name of the old one.
  /___jb_(?:tmp|old)___$/,
  /^sed(?=.*[0-9A-Z])[A-Za-z0-9]{6}$/,
  /^\.goutputstream-/,
  /\.kate-swp$/,
];

/** `name` of a file, without its folder. */
export function isEditorFile(name: string): boolean {
  return EDITOR_FILES.some((pattern) => pattern.test(name));
}
