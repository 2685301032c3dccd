/** What makes two usernames or emails the same: whatever their case and Unicode form. */
export function sameKey(name: string): string {
  // Upper case first: "ß" and "SS", "ς" and "Σ" fold together only on the way up. NFKC last, as folding can undo it.
  return name.normalize("NFKC").toUpperCase().toLowerCase().normalize("NFKC");
}
