/** What makes two usernames or emails the same: whatever their case and Unicode form. */
export function sameKey(name: string): string {
  // Nobody's, however it is spelled: names have at most 254 characters, of which none is spelled with more than six
  // units. And normalising takes quadratic time where marks pile up on one character.
  if (name.length > 1_600) return name;
  // By way of upper case: "ß" and "SS", "ς" and "Σ" fold together only on the way up. But by lower case first, as "ẞ" has
  // its way to "SS" from there alone. NFKC last, as folding can undo it.
  return name.normalize("NFKC").toLowerCase().toUpperCase().toLowerCase().normalize("NFKC");
}
