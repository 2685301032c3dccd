/** The key by which usernames are compared: the same in every case and Unicode form. */
export function sameKey(name: string): string {
  // Normalising takes quadratic time when marks pile up on one character. A text of this length matches nothing: names have
  // at most 254 characters, and none of them has a spelling of more than six units.
  if (name.length > 1_600) return name;
  // By way of upper case, because "ß" and "SS" as well as "ς" and "Σ" are equal only there; and lower case before it,
  // because "ẞ" becomes "SS" only from there. NFKC last, because folding can undo it.
  return name.normalize("NFKC").toLowerCase().toUpperCase().toLowerCase().normalize("NFKC");
}
